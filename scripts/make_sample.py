"""Regenerates the 100 test images that are shipped with the package: the first ten of each class."""

import io
import os
from pathlib import Path

import numpy as np

import tfg_jax.data
from tfg_jax.data import fashion_mnist
from tfg_jax.data.sample import SAMPLE_FILE


def main() -> None:
    images, labels = fashion_mnist.load("test")
    index = np.concatenate([np.flatnonzero(labels == c)[:10] for c in range(fashion_mnist.NUM_CLASSES)])
    pixels = np.rint((images[index] + 1) * 127.5).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=pixels, labels=labels[index].astype(np.uint8))
    target = Path(tfg_jax.data.__file__).with_name(SAMPLE_FILE)
    partial = target.with_suffix(".tmp")
    partial.write_bytes(buffer.getvalue())
    os.replace(partial, target)
    print(f"{target.name}: {len(index)} images, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
