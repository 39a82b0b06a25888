"""Images that come with the package."""

import numpy as np

from tfg_jax.data.fashion_mnist import CLASS_NAMES as CLASS_NAMES
from tfg_jax.data.sample import load_sample


def shipped_images() -> tuple[np.ndarray, list[str]]:
    """A hundred test images and their names: the first of every class, then the second of every class, ..."""
    images, labels = load_sample()
    order = [10 * i + k for k in range(10) for i in range(10)]
    return images[order], [CLASS_NAMES[c] for c in labels[order]]
