"""Regenerates the 100 test images that are shipped with the package: the first ten of each class."""

from pathlib import Path

import numpy as np
from studied import first_of_each_class

import tfg_jax.data
from tfg_jax.data import fashion_mnist
from tfg_jax.data.sample import SAMPLE_FILE
from tfg_jax.files import write_atomically


def main() -> None:
    images, labels = fashion_mnist.load("test")
    index = first_of_each_class(labels, 10)
    arrays = {"images": np.rint((images[index] + 1) * 127.5).astype(np.uint8), "labels": labels[index].astype(np.uint8)}
    target = Path(tfg_jax.data.__file__).with_name(SAMPLE_FILE)
    write_atomically(target, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
    print(f"{target.name}: {len(index)} images, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
