"""Regenerates the small data files that are shipped with the package: 100 images of Fashion-MNIST, the first ten test
images of each class, and 4,096 requests from QM9, atom counts with properties.

    python scripts/make_sample.py images
    python scripts/make_sample.py molecules --data qm9.safetensors
"""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import tfg_jax.data
from tfg_jax.data import fashion_mnist, qm9
from tfg_jax.data.sample import SAMPLE_FILE
from tfg_jax.files import write_bytes
from tfg_jax.tasks.qm9.targets import FILE

REQUESTS, SEED = 4096, 0


def main(what: tyro.conf.Positional[Literal["images", "molecules"]], data: Path | None = None) -> None:
    """what: which file. data: where the data set is; default as its loader finds it."""
    name, arrays = (SAMPLE_FILE, images(data)) if what == "images" else (FILE, molecules(data))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    target = Path(tfg_jax.data.__file__).with_name(name)
    write_bytes(target, buffer.getvalue())
    print(f"{target.name}: {target.stat().st_size} bytes")


def images(data: Path | None) -> dict[str, Any]:
    """The first ten test images of each class."""
    x, labels = fashion_mnist.load("test", data)
    index = np.concatenate([np.flatnonzero(labels == c)[:10] for c in range(fashion_mnist.NUM_CLASSES)])
    return {"images": np.rint((x[index] + 1) * 127.5).astype(np.uint8), "labels": labels[index].astype(np.uint8)}


def molecules(data: Path | None) -> dict[str, Any]:
    """Molecules of the half that the generator learned from, drawn without replacement."""
    known = qm9.load(data)
    chosen = np.random.default_rng(SEED).choice(qm9.split()["generator"], REQUESTS, replace=False)
    return {"counts": known.counts[chosen].astype(np.uint8), "properties": qm9.property_table(known)[chosen]}


if __name__ == "__main__":
    tyro.cli(main)
