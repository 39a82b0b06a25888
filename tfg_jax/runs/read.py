"""Samples that are on disk already, of a sample folder or of an .npz file, for commands that score them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfg_jax.data.inputs import as_images, read_npz
from tfg_jax.rows import Arrays
from tfg_jax.runs.run import seconds_of
from tfg_jax.runs.store import MANIFEST, read_folder
from tfg_jax.runs.values import url_of, values_at


class Stored(NamedTuple):
    """Arrays with one row a sample, which a folder's are read for, seconds they took, configuration that made them."""

    arrays: Arrays
    seconds: float
    config: dict[str, Any]


def stored_samples(path: Path) -> Stored:
    """Samples with their targets.

    Raises:
        FileNotFoundError: there are none.
        ValueError: damaged, incomplete or without targets.
    """
    values = values_at(path)
    if path.exists() and not path.is_dir():
        arrays = read_npz("source", path, ("x", "target"))
        x = as_images(f"source={path}", arrays["x"])
        if not np.isfinite(x).all():  # in a sample folder it marks failed samples, which are counted as such
            raise ValueError(f"source={path} holds NaN or infinity in x; clean it first")
        return Stored({"x": x, "target": arrays["target"]}, 0.0, {"source": str(path)})
    if url_of(path) is None and not path.exists():
        raise FileNotFoundError(f"source={path} does not exist; give a folder of `tfg-jax sample` or an .npz file")
    if values.read(MANIFEST) is None:
        raise FileNotFoundError(
            f"source={values.name} holds no {MANIFEST}; give a folder of `tfg-jax sample` or an .npz file"
        )
    try:
        folder = read_folder(path)
    except ValueError:  # its advice, to overwrite, is meant for the command that writes the folder
        raise ValueError(f"source={path} has a damaged {MANIFEST}; run the command that made it again") from None
    for indices in folder.ranges():
        folder.read(indices)  # all is there and whole
    arrays = folder.arrays()
    if not {"x", "target"} <= set(arrays):
        raise ValueError(f"source={path} holds samples without targets; give a folder of `tfg-jax sample`")
    return Stored(arrays, seconds_of(path), folder.manifest["config"])
