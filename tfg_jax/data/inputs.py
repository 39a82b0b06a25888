"""Images from the user's files: PNG and other pictures, .npz files, folders of them. Nothing is resized in silence."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfg_jax.data.pictures import SUFFIXES, read_picture, wrong_size
from tfg_jax.readers import check_file, load_npz


def read_images(
    paths: Sequence[Path],
    shape: tuple[int, ...],
    *,
    needed_by: str = "the model",
    bright: bool = True,
    complex_values: bool = False,
) -> tuple[np.ndarray, list[str]]:
    """Images (n, H, W, C) in [-1, 1] and a name for each, in the order given; a folder's files by name.

    Args:
        paths: pictures, each frame an image, .npz files with images `x` (n, H, W, C), or folders that hold some.
        shape: (H, W, C) that all of them must have, C = 1 (grey) or 3.
        needed_by: who needs that shape, for the message.
        bright: False for measurements that are no brightness in [-1, 1]: pictures cannot hold them.
        complex_values: True for measurements that are complex, which all of them must be then.

    Raises:
        ValueError: no images, a file that is no readable image, or one of another size.
        FileNotFoundError: a path that does not exist.
    """
    images: list[np.ndarray] = []
    names: list[str] = []
    for file in [file for path in paths for file in _files(path)]:
        if file.suffix.lower() == ".npz":
            arrays = as_images(f"images={file}", read_npz("images", file, ("x",))["x"], bright=bright,
                             complex_values=complex_values)  # fmt: skip
            labels = [f"{file.stem} {i}" for i in range(len(arrays))]
        elif not bright:
            raise ValueError(f"images={file} is a picture, but {needed_by} measures no brightness; give an .npz file")
        else:
            arrays = read_picture(file, shape, needed_by)
            labels = [file.stem] if len(arrays) == 1 else [f"{file.stem} {i}" for i in range(len(arrays))]
        if arrays.shape[1:] != tuple(shape):
            raise wrong_size(file, arrays.shape[1:], shape, needed_by)
        if not np.isfinite(arrays).all():
            raise ValueError(f"images={file} holds NaN or infinity; clean it first")
        images.append(arrays)
        names += labels
    return np.concatenate(images), names


def read_npz(name: str, file: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Named arrays of an .npz file; ``name`` is the option that gave it. ValueError if it is none or lacks one."""
    check_file(name, file)
    if not zipfile.is_zipfile(file):
        wanted = ", ".join({"x": "x=images", "target": "target=classes"}.get(key, key) for key in keys)
        raise ValueError(f"{name}={file} is no .npz file; write one with numpy.savez(file, {wanted})")
    arrays = load_npz(name, file, keys)
    if not set(keys) <= set(arrays):
        with zipfile.ZipFile(file) as archive:
            there = sorted(member.removesuffix(".npy") for member in archive.namelist())
        words = " and ".join({"x": "the images x", "target": "the classes target"}.get(key, key) for key in keys)
        raise ValueError(f"{name}={file} holds {there}; name {words}")
    return arrays


def as_images(where: str, x: np.ndarray, *, bright: bool = True, complex_values: bool = False) -> np.ndarray:
    """Images (n, H, W, C) as float32 in [-1, 1], from bytes 0..255 or floats; ValueError for anything else.

    bright: whether values far outside that range are refused. complex_values: whether complex numbers are wanted.
    """
    from tfg_jax.data.pixels import to_float

    if complex_values:
        if x.ndim != 4 or not len(x) or not np.issubdtype(x.dtype, np.complexfloating):
            raise ValueError(f"{where} holds x of shape {x.shape} and type {x.dtype}; these measurements are "
                             "(n, H, W, C) complex numbers")  # fmt: skip
        return x.astype(np.complex64)
    if x.ndim != 4 or not len(x) or not (x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating)):
        raise ValueError(f"{where} holds x of shape {x.shape} and type {x.dtype}; images are (n, H, W, C), "
                         "floats or bytes")  # fmt: skip
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which callers refuse
        x = to_float(x) if x.dtype == np.uint8 else x.astype(np.float32)
    if bright and np.isfinite(x).all() and np.abs(x).max() > 1.5:
        raise ValueError(f"{where} holds values up to {np.abs(x).max():.4g}; scale images to [-1, 1]")
    return x


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"images={path} does not exist; give pictures, .npz files or a folder of them")
        check_file("images", path)
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (*SUFFIXES, ".npz"))
    if not files:
        raise ValueError(f"images={path} is a folder without pictures or .npz files; give another")
    return files
