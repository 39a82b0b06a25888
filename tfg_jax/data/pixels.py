"""Pixels as numbers."""

import numpy as np

from tfg_jax.kinds import public


@public
def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 pixels 0..255 to float32 in [-1, 1]."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)
