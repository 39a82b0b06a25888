"""Points: one or several in the plane or in more dimensions, with nothing to project."""

from __future__ import annotations

import numpy as np
from jaxtyping import PyTree

from tfg_jax import struct
from tfg_jax.domains.base import Domain, Spec
from tfg_jax.kinds import public

SIDE = 96  # pixels of a picture


@struct.dataclass
class Points(Domain):
    """Points (D,), or (n, D) of them.

    Attributes:
        reach: pictures show [-reach, reach] in the first two coordinates.
    """

    reach: float = struct.field(pytree_node=False, default=3.0)

    def show(self, sample: PyTree) -> np.ndarray:
        """The points as dots in the plane of their first two coordinates, (H, W, 3) bytes."""
        where = np.asarray(sample, np.float64).reshape(-1, self.spec.shape[-1])
        return dots(where, np.zeros((len(where), 3), np.uint8), self.reach)


def dots(where: np.ndarray, colors: np.ndarray, reach: float, radius: float = 2.5) -> np.ndarray:
    """Dots (n, D) of n colors on white, the last in front; what is beyond the reach, or not finite, is left out."""
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for point, color in zip(where, colors, strict=True):
        x = 0.5 * (SIDE - 1) * (1.0 + point[0] / reach)
        y = 0.5 * (SIDE - 1) * (1.0 - (point[1] if len(point) > 1 else 0.0) / reach)
        if np.isfinite(x + y):
            picture[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = color
    return picture


@public
def points(shape: tuple[int, ...], reach: float = 3.0) -> Points:
    """The domain of points of a shape (D,) or (n, D).

    Args:
        shape: of one sample.
        reach: pictures show [-reach, reach] in the first two coordinates, > 0.

    Raises:
        ValueError: another shape, or a reach that is not > 0.
    """
    if not 0.0 < reach < float("inf"):
        raise ValueError(f"reach={reach} must be a finite number > 0")
    spec = Spec.of(shape)
    if not 1 <= len(spec.shape) <= 2:
        raise ValueError(f"shape={shape} must be (D,) or (n, D)")
    return Points(spec, float(reach))
