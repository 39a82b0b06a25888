"""`tfg-jax export`: the samples of a folder as PNG pictures or as one .npz file, shard by shard."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tfg_jax.cli.main import OK

if TYPE_CHECKING:
    import numpy as np

    from tfg_jax.runs.store import SampleFolder

TABLE = "samples.csv"
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
    """Replace an earlier export."""
    dry_run: bool = False
    """Read and check everything, write nothing."""


def run(options: Options) -> int:
    """Check, then write."""
    from tfg_jax.report import counted
    from tfg_jax.runs.store import read_folder

    folder = read_folder(options.source)
    if missing := folder.missing():
        raise ValueError(f"source={options.source} lacks {counted(sum(map(len, missing)), 'sample')}; run the command "
                         "that made it again first")  # fmt: skip
    n, one_file = folder.manifest["num_samples"], options.out.suffix == ".npz"
    if not one_file:
        _check_pictures(options, folder)
    _claim(options, one_file)
    if options.dry_run:
        what = "in one file" if one_file else "as pictures"
        print(f"{counted(n, 'sample')} {what} into {options.out}; nothing was written.")
        return OK
    if one_file:
        from tfg_jax.files import write_atomically

        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.out, lambda file: _write_npz(folder, file))
        print(f"{options.out}: {counted(n, 'sample')}")
    else:
        written = _write_pictures(folder, options.out)
        rest = f"; {counted(n - written, 'failed sample')} left out" if written < n else ""
        print(f"{options.out}: {counted(written, 'picture')}{rest}")
    return OK


def _check_pictures(options: Options, folder: SampleFolder) -> None:
    x = folder.read(folder.ranges()[0]).get("x")
    if x is None or x.ndim != 4 or x.shape[-1] not in (1, 3):
        shape = None if x is None else x.shape[1:]
        raise ValueError(f"source={options.source} holds samples of shape {shape}, pictures are (H, W, 1 or 3); export "
                         "to a file, --output samples.npz")  # fmt: skip


def _claim(options: Options, one_file: bool) -> None:
    """Make room for the export, or refuse: only files of an earlier one are ever deleted."""
    out = options.out
    if one_file:
        if out.exists() and (out.is_dir() or not options.overwrite):
            raise ValueError(f"out={out} exists; choose another file or pass --overwrite")
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={out} is a file; choose a folder for pictures, or a file that ends in .npz")
    there = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if foreign := [name for name in there if not OWN_NAME.fullmatch(name)]:
        raise ValueError(f"out={out} holds other files ({', '.join(foreign[:3])}); choose another folder")
    if TABLE in there and not options.overwrite:  # without the table the export was interrupted
        raise ValueError(f"out={out} holds another export; choose another folder or pass --overwrite")
    for name in there if not options.dry_run else []:
        (out / name).unlink()


def _write_pictures(folder: SampleFolder, out: Path) -> int:
    """A picture for each finished sample, then the table; returns how many."""
    import jax.numpy as jnp
    import numpy as np

    from tfg_jax.files import write_bytes
    from tfg_jax.report.images import png_bytes, to_pixels
    from tfg_jax.result import Status

    rows: list[dict[str, Any]] = []
    for indices in folder.ranges():
        arrays = folder.read(indices)
        x = arrays["x"]
        good = np.asarray(np.isfinite(x).all(axis=(1, 2, 3)))
        if "status_code" in arrays:
            good &= np.asarray(Status(jnp.asarray(arrays["status_code"]), jnp.asarray(arrays["status_step"])).ok)
        numbers = {name: array for name, array in arrays.items() if array.ndim == 1 and name != "index"}
        for i, index in enumerate(indices):
            name = f"{index:06d}.png" if good[i] else ""
            rows.append({"index": index, "file": name} | {key: array[i] for key, array in numbers.items()})
            if name:
                pixels = to_pixels(x[i])
                write_bytes(out / name, png_bytes(pixels if x.shape[-1] == 3 else pixels[..., 0]))
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    write_bytes(out / TABLE, text.getvalue().encode())
    return sum(bool(row["file"]) for row in rows)


def _write_npz(folder: SampleFolder, file: Any) -> None:
    """All arrays one after the other, each shard by shard: an .npz file is a zip archive of .npy files."""
    from numpy.lib import format as npy

    ranges, total = folder.ranges(), folder.manifest["num_samples"]
    first: dict[str, np.ndarray] = folder.read(ranges[0])
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in first.items():
            header = npy.header_data_from_array_1_0(array) | {
                "shape": (total, *array.shape[1:]),
                "fortran_order": False,
            }
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array_header_1_0(member, header)
                for indices in ranges:
                    part = folder.read(indices)
                    if {key: (a.dtype, a.shape[1:]) for key, a in part.items()} != {
                        key: (a.dtype, a.shape[1:]) for key, a in first.items()
                    }:
                        raise ValueError(f"the shards of {folder.path} hold different arrays; run the command that "
                                         "made it again with --overwrite")  # fmt: skip
                    member.write(part[name].tobytes())
