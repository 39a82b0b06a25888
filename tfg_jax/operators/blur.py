"""Blurs: separable Gaussian with mirrored borders, and circular convolution with any kernel, such as that of motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, Inexact

from tfg_jax import struct
from tfg_jax.checks import check_number, readable
from tfg_jax.kinds import public
from tfg_jax.operators.base import cast, check_image_shape, entries, expect, leaf
from tfg_jax.operators.linear import Separable, separable


@struct.dataclass
class Convolution:
    """Circular convolution of every channel, by FFT: what leaves at one border comes in at the other.

    Build it with `convolution` or `motion_blur`.

    Attributes:
        kernel: (k, l), odd sides, its centre in the middle.
        shape: (H, W, C).
    """

    kernel: Inexact[Array, "k l"]
    shape: tuple[int, int, int] = struct.field(pytree_node=False)

    def __call__(self, x0: Inexact[Array, "..."]) -> Inexact[Array, "H W C"]:
        expect(self, "x0", x0.shape, self.shape)
        return self._filter(x0, self._transfer(x0))

    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, "H W C"]:
        """Convolution with the mirrored kernel, conjugated."""
        expect(self, "y", y.shape, self.shape)
        return self._filter(y, jnp.conj(self._transfer(y)))

    def gram_solve(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Inexact[Array, "H W C"]:
        """Division by ``variance |K|^2 + ridge`` at every frequency."""
        expect(self, "y", y.shape, self.shape)
        power = jnp.abs(self._transfer(y)) ** 2
        return self._filter(y, jnp.asarray(1.0 / (variance * power + ridge)))

    def real_gradient(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Float[Array, "H W C"]:
        """Division by ``variance (|K(k)|^2 + |K(-k)|^2) / 2 + ridge``: the real part of A^H A is that filter."""
        expect(self, "y", y.shape, self.shape)
        transfer = self._transfer(y)
        power = jnp.abs(transfer) ** 2
        even = 0.5 * (power + mirrored(power))
        return self._filter(y, jnp.conj(transfer) / (variance * even + ridge)).real

    def _transfer(self, like: Array) -> Complex[Array, "H frequencies 1"]:
        (tall, wide), kernel = self.kernel.shape, cast(self.kernel, like)
        placed = jnp.zeros(self.shape[:2], kernel.dtype).at[:tall, :wide].set(kernel)
        fft2 = jnp.fft.fft2 if jnp.iscomplexobj(placed) else jnp.fft.rfft2
        return fft2(jnp.roll(placed, (-(tall // 2), -(wide // 2)), (0, 1)))[:, :, None]

    def _filter(self, x: Array, transfer: Array) -> Array:
        if jnp.iscomplexobj(x) or jnp.iscomplexobj(self.kernel):
            return jnp.fft.ifft2(jnp.fft.fft2(x, axes=(0, 1)) * transfer, axes=(0, 1))
        filtered = jnp.fft.rfft2(x, axes=(0, 1)) * transfer
        return jnp.fft.irfft2(filtered, s=self.shape[:2], axes=(0, 1)).astype(x.dtype)


@public
def gaussian_blur(shape: tuple[int, int, int], std: float, radius: int | None = None) -> Separable:
    """Gaussian blur with mirrored borders (the edge pixel is not repeated).

    Args:
        shape: (H, W, C) of the images.
        std: of the kernel in pixels, > 0.
        radius: where the kernel is cut, in pixels, smaller than both sides; None is three standard deviations, or
            less if the image is smaller.

    Raises:
        ValueError: std <= 0, or a radius that does not fit.
    """
    height, width, channels = check_image_shape(shape)
    check_number("std", std, low=0.0, strict=True)
    std = float(readable("std", std))
    most = min(height, width) - 1
    radius = min(math.ceil(3.0 * std), most) if radius is None else radius
    if isinstance(radius, bool) or not isinstance(radius, int | np.integer) or not 1 <= radius <= most:
        raise ValueError(f"radius={radius!r} must be an integer in 1..{most}, since borders are mirrored once")
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    weights /= weights.sum()
    return separable(_mirrored(height, weights), _mirrored(width, weights), channels)


@public
def motion_blur(shape: tuple[int, int, int], length: float, angle: float = 0.0) -> Convolution:
    """Blur by motion along a straight line, with circular borders.

    Args:
        shape: (H, W, C) of the images.
        length: of the motion in pixels, > 1 and at most the image's smaller side.
        angle: of the motion against the horizontal in degrees, counter-clockwise.

    Raises:
        ValueError: a length or an angle out of range.
    """
    height, width, _ = check_image_shape(shape)
    check_number("length", length, low=1.0, high=float(min(height, width)), strict=True)
    kernel = motion_kernel(length, angle)
    if max(kernel.shape) > min(height, width):
        raise ValueError(f"length={length} needs a kernel of {kernel.shape}, larger than the image; shorten it")
    return convolution(shape, kernel)


@public
def motion_kernel(length: float, angle: float = 0.0) -> Float[np.ndarray, "k k"]:
    """The kernel of a straight motion: a line of ``length`` pixels, spread bilinearly; sums to 1.

    Args:
        length: in pixels, >= 1.
        angle: against the horizontal in degrees, counter-clockwise.

    Raises:
        ValueError: a length below 1, or numbers that are not finite.
    """
    check_number("length", length, low=1.0)
    check_number("angle", angle)
    length, angle = float(readable("length", length)), float(readable("angle", angle))
    radius = max(1, math.ceil((length - 1.0) / 2.0))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    turn = math.radians(angle)
    for along in np.linspace(-(length - 1.0) / 2.0, (length - 1.0) / 2.0, 64 * radius + 1):
        row, column = radius - along * math.sin(turn), radius + along * math.cos(turn)
        top, left = min(int(row), 2 * radius - 1), min(int(column), 2 * radius - 1)
        down, right = row - top, column - left
        kernel[top : top + 2, left : left + 2] += np.outer((1.0 - down, down), (1.0 - right, right))
    return kernel / kernel.sum()


@public
def convolution(shape: tuple[int, int, int], kernel: ArrayLike | Sequence[Any]) -> Convolution:
    """Circular convolution with a kernel of your own.

    Args:
        shape: (H, W, C) of the images.
        kernel: (k, l), finite, real or complex, odd sides, not larger than the image.

    Raises:
        ValueError: a kernel of another shape.
    """
    height, width, channels = check_image_shape(shape)
    values = entries("kernel", kernel)
    if values.ndim != 2 or not values.shape[0] % 2 or not values.shape[1] % 2:
        raise ValueError(f"kernel has shape {values.shape}; give a matrix with odd sides, its centre in the middle")
    if values.shape[0] > height or values.shape[1] > width:
        raise ValueError(f"kernel has shape {values.shape}, larger than images of {height} x {width}; cut it")
    return Convolution(leaf(values), (height, width, channels))


def mirrored(spectrum: Array) -> Array:
    """A spectrum (H, W, ...) at the negative frequencies."""
    return jnp.roll(jnp.flip(spectrum, (0, 1)), (1, 1), (0, 1))


def _mirrored(size: int, weights: np.ndarray) -> np.ndarray:
    """The matrix of a convolution whose signal goes on as in a mirror set on its first and last entry."""
    radius = len(weights) // 2
    taken = np.abs(np.arange(size)[:, None] + np.arange(-radius, radius + 1))
    taken = np.where(taken >= size, 2 * (size - 1) - taken, taken)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], taken), weights)
    return matrix
