"""Sample folders as pictures with a table, or as one .npz file, with no more than one shard in memory."""

from __future__ import annotations

import csv
import filecmp
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy

from tfg_jax.files import write_atomically
from tfg_jax.readers import MAX_JSON_BYTES, parse_json
from tfg_jax.report.images import png_bytes, to_pixels
from tfg_jax.result import Status
from tfg_jax.rows import blocks
from tfg_jax.runs.store import SampleFolder
from tfg_jax.runs.values import url_of, values_at
from tfg_jax.tasks.find import find_task, task_names

TABLE = "samples.csv"


def check_pictures(folder: SampleFolder) -> None:
    """Raise ValueError unless the samples are images."""
    x = folder.read(folder.ranges()[0]).get("x")
    if x is None or x.ndim != 4 or x.shape[-1] not in (1, 3):
        shape = None if x is None else x.shape[1:]
        raise ValueError(f"source={folder.name} holds samples of shape {shape}, pictures are (H, W, 1 or 3); export "
                         "to a file, --output samples.npz")  # fmt: skip


def pictures(folder: SampleFolder) -> Iterator[tuple[str, bytes]]:
    """Every file of an export, its name and its bytes: a picture for each finished sample, and the table at last."""
    text, table = io.StringIO(newline=""), None
    names, draws = class_names(folder), folder.manifest["config"].get("draws")
    for indices in folder.ranges():
        arrays = folder.read(indices)
        x = arrays["x"]
        good = np.asarray(np.isfinite(x).all(axis=(1, 2, 3)))
        if "status_code" in arrays:
            good &= np.asarray(Status(jnp.asarray(arrays["status_code"]), jnp.asarray(arrays["status_step"])).ok)
        numbers = {name: array for name, array in arrays.items() if array.ndim == 1 and name != "index"}
        for i, index in enumerate(indices):
            file = f"{index:06d}.png" if good[i] else ""
            row = {"index": index, "file": file}
            row |= {"image": index // draws, "draw": index % draws} if isinstance(draws, int) and draws > 0 else {}
            for name, array in numbers.items():
                row[name] = array[i]
                if name == "target" and names:
                    row["class"] = names[int(array[i])] if 0 <= array[i] < len(names) else ""
            if table is None:
                table = csv.DictWriter(text, row)
                table.writeheader()
            table.writerow(row)
            if file:
                pixels = to_pixels(x[i])
                yield file, png_bytes(pixels if x.shape[-1] == 3 else pixels[..., 0])
    yield TABLE, text.getvalue().encode()


def write_npz(folder: SampleFolder, file: Any) -> None:
    """All arrays one after the other, each shard by shard: an .npz file is a zip archive of .npy files."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, rows in folder.arrays().items():
            header = {"descr": npy.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": rows.shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array_header_1_0(member, header)
                for part in blocks(rows):
                    member.write(rows[part].tobytes())


def write_file(folder: SampleFolder, out: Path, overwrite: bool) -> None:
    """The .npz file; one that is there is kept if it is the same, whatever ``overwrite`` says replaced if it says so.

    Raises ValueError if it is another one.
    """
    new = out.with_name(f"{out.name}.new")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(new, lambda file: write_npz(folder, file))
    try:
        if not overwrite and out.exists() and not filecmp.cmp(out, new, shallow=False):
            raise ValueError(f"out={out} holds another export; choose another file or pass --overwrite")
        new.replace(out)
    finally:
        new.unlink(missing_ok=True)


def is_same(folder: SampleFolder, out: Path, there: Sequence[str]) -> bool:
    """Whether a folder of pictures holds what exporting again would write."""
    left = set(there)
    for name, data in pictures(folder):
        if name not in left or (out / name).read_bytes() != data:
            return False
        left.remove(name)
    return not left


def class_names(folder: SampleFolder) -> Sequence[str]:
    """Names of the classes that the targets number, from the configuration beside the samples; () if it says none."""
    near = [folder.values] if url_of(folder.path) else [folder.values, values_at(folder.path.parent)]
    for values in near:
        try:
            written = parse_json(values.read("config.json", MAX_JSON_BYTES) or b"")
        except ValueError:
            continue
        options = written.get("options") if isinstance(written, dict) else None
        if isinstance(options, dict) and written.get("command") in ("sample", "compare", "optimize"):
            task = options.get("task", task_names()[0])  # earlier versions knew one alone
            return find_task(task).CLASS_NAMES if task in task_names() else ()
    return ()
