"""Images: (H, W, C) in [-1, 1], with nothing to project."""

from __future__ import annotations

import numpy as np
from jaxtyping import PyTree

from tfg_jax import struct
from tfg_jax.domains.base import Domain, Spec, grey
from tfg_jax.kinds import public


@struct.dataclass
class Images(Domain):
    """Images of one channel or three, which their picture shows, or of more, of which it shows the first."""

    @property
    def range(self) -> tuple[float, float]:
        """-1 is black, 1 white."""
        return (-1.0, 1.0)

    def show(self, sample: PyTree) -> np.ndarray:
        """The image itself, (H, W, 3) bytes."""
        pixels = np.asarray(sample, np.float32)
        channels = range(3) if pixels.shape[-1] == 3 else (0, 0, 0)
        return np.stack([grey(pixels[..., c], self.range)[..., 0] for c in channels], axis=-1)


@public
def images(shape: tuple[int, int, int]) -> Images:
    """The domain of images of a shape (H, W, C), channels last.

    Raises:
        ValueError: another shape.
    """
    return Images(Spec.of(shape))
