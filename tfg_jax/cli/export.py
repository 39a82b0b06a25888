"""`tfg-jax export`: the samples of a folder as PNG pictures or as one .npz file, shard by shard."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated

import tyro

from tfg_jax.cli.main import OK

OWN_NAME = re.compile(r"\d{6,}\.png(\.tmp)?|samples\.csv(\.tmp)?")


@dataclasses.dataclass(frozen=True)
class Options:
    """Export a sample folder, with no more than one shard in memory.

    A folder is filled with pictures 000000.png, ..., the finished samples by their index, and at last with samples.csv,
    which holds what is one number a sample (class, cost, ...). An .npz file holds all arrays of all samples.
    """

    source: Annotated[Path, tyro.conf.Positional] = Path("outputs/sample")
    """Sample folder."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/export")
    """Folder of PNG pictures, values outside [-1, 1] clipped; or a file that ends in .npz."""
    overwrite: bool = False
    """Replace another export."""
    dry_run: bool = False
    """Read and check everything, write nothing."""


def run(options: Options) -> int:
    """Check, then write."""
    from tfg_jax.files import write_bytes
    from tfg_jax.report import counted, export
    from tfg_jax.runs.store import read_folder
    from tfg_jax.runs.values import refuse_url

    refuse_url("out", options.out)
    folder, out = read_folder(options.source), options.out
    if missing := folder.missing():
        raise ValueError(f"source={options.source} lacks {counted(sum(map(len, missing)), 'sample')}; run the command "
                         "that made it again first")  # fmt: skip
    n, one_file = folder.manifest["num_samples"], out.suffix == ".npz"
    if one_file and out.is_dir():
        raise ValueError(f"out={out} is a folder; choose a file that ends in .npz")
    if not one_file:
        export.check_pictures(folder)
    if not one_file and out.exists() and not out.is_dir():
        raise ValueError(f"out={out} is a file; choose a folder for pictures, or a file that ends in .npz")
    there = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    if foreign := [name for name in there if not OWN_NAME.fullmatch(name)]:
        raise ValueError(f"out={out} holds other files ({', '.join(foreign[:3])}); choose another folder")
    # Without the table an export was interrupted.
    if export.TABLE in there and not options.overwrite and not export.is_same(folder, out, there):
        raise ValueError(f"out={out} holds another export; choose another folder or pass --overwrite")
    if options.dry_run:
        what = "in one file" if one_file else "as pictures"
        print(f"{counted(n, 'sample')} {what} into {out}; nothing was written.")
        return OK
    if one_file:
        export.write_file(folder, out, options.overwrite)
        print(f"{out}: {counted(n, 'sample')}")
        return OK
    for name in there:
        (out / name).unlink()
    written = 0
    for name, data in export.pictures(folder):
        write_bytes(out / name, data)
        written += name != export.TABLE
    rest = f"; {counted(n - written, 'failed sample')} left out" if written < n else ""
    print(f"{out}: {counted(written, 'picture')}{rest}")
    return OK
