"""Fourier measurements of magnetic resonance imaging: some frequencies of an image, complex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, Inexact, PRNGKeyArray

from tfg_jax import struct
from tfg_jax.checks import check_number
from tfg_jax.kinds import public
from tfg_jax.noise import root_key
from tfg_jax.operators.base import check_image_shape, entries, expect, leaf
from tfg_jax.operators.blur import mirrored


@struct.dataclass
class Fourier:
    """``y = mask F x``, F the unitary 2-D Fourier transform of every channel; build it with `fourier`.

    Frequencies that are not measured are 0 and free of noise.

    Attributes:
        mask: (H, W, 1), 1 where a frequency is measured and 0 where it is not, in the order of y.
        shape: (H, W, C).
        two_channel: whether the two channels are the real and the imaginary part of one complex image.
        centered: whether position 0 and frequency 0 lie in the middle and not in the corner.
    """

    mask: Float[Array, "H W 1"]
    shape: tuple[int, int, int] = struct.field(pytree_node=False)
    two_channel: bool = struct.field(pytree_node=False, default=False)
    centered: bool = struct.field(pytree_node=False, default=False)
    measures_images = False  # frequencies are no brightness in [-1, 1]: no Poisson noise of pixels

    @property
    def observed(self) -> Float[Array, "H W 1"]:
        """1 for the frequencies that are measured."""
        return self.mask

    def __call__(self, x0: Inexact[Array, "..."]) -> Complex[Array, "H W channels"]:
        expect(self, "x0", x0.shape, self.shape)
        if self.two_channel:
            if jnp.iscomplexobj(x0):
                raise ValueError("x0 is complex, but two_channel=True reads real and imaginary parts; give real images")
            x0 = jax.lax.complex(x0[..., :1], x0[..., 1:])
        return self._masked(self._transform(x0, jnp.fft.fft2))

    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, "H W C"]:
        """The inverse transform of what is measured: complex (of real images its real part), or in two channels."""
        expect(self, "y", y.shape, self._measured)
        x = self._transform(self._masked(y), jnp.fft.ifft2)
        return jnp.concatenate([x.real, x.imag], axis=-1) if self.two_channel else x

    def gram_solve(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Array:
        """``y / (variance mask + ridge)``."""
        expect(self, "y", y.shape, self._measured)
        return y / (variance * self.mask.astype(y.real.dtype) + ridge)

    def real_gradient(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Float[Array, "H W C"]:
        """In closed form: a real image has conjugate values at opposite frequencies, so each stands for both."""
        if self.two_channel:
            return self.adjoint(self.gram_solve(y, variance, ridge))
        expect(self, "y", y.shape, self._measured)
        mask = jnp.fft.ifftshift(self.mask, (0, 1)) if self.centered else self.mask
        even = 0.5 * (mask + mirrored(mask))
        even = jnp.fft.fftshift(even, (0, 1)) if self.centered else even
        return self._transform(self._masked(y) / (variance * even.astype(y.real.dtype) + ridge), jnp.fft.ifft2).real

    @property
    def _measured(self) -> tuple[int, int, int]:
        return (*self.shape[:2], 1 if self.two_channel else self.shape[2])

    def _masked(self, y: Array) -> Array:
        return self.mask.astype(y.real.dtype) * y

    def _transform(self, x: Array, transform: Any) -> Array:
        if not self.centered:
            return transform(x, axes=(0, 1), norm="ortho")
        return jnp.fft.fftshift(transform(jnp.fft.ifftshift(x, (0, 1)), axes=(0, 1), norm="ortho"), (0, 1))


@public
def fourier(
    shape: tuple[int, int, int],
    mask: ArrayLike | Sequence[Any] | None = None,
    *,
    two_channel: bool = False,
    centered: bool = False,
) -> Fourier:
    """Some of the frequencies of real or complex images, ``y = mask F x``, F the unitary 2-D Fourier transform.

    Args:
        shape: (H, W, C) of the images; each channel is transformed by itself.
        mask: (H, W) or (H, W, 1) of 0 (not measured) and 1 (measured), in the order of y; None measures all.
        two_channel: images are real (H, W, 2), the real and the imaginary part of one complex image, and y (H, W, 1):
            what a diffusion model of complex images samples.
        centered: frequency 0, and position 0, lie in the middle, as scanners store k-space; False has both in the
            corner, as ``numpy.fft`` has.

    Raises:
        ValueError: a mask of another shape, with other values, or without a 1; two_channel without two channels.
    """
    height, width, channels = check_image_shape(shape)
    if two_channel and channels != 2:
        raise ValueError(f"shape={shape} has {channels} channels, two_channel=True needs 2: real and imaginary part")
    values = np.ones((height, width)) if mask is None else entries("mask", mask)
    if values.dtype.kind == "c":
        raise ValueError("mask is complex; give 0 (not measured) and 1 (measured) as real numbers")
    if values.shape not in ((height, width), (height, width, 1)):
        raise ValueError(
            f"mask has shape {values.shape}, images of shape {shape} need {(height, width)}; repeat columns"
        )
    if not np.isin(values, (0.0, 1.0)).all() or not values.any():
        raise ValueError(
            "mask must hold 0 (not measured) and 1 (measured) alone, with a 1 somewhere; threshold it first"
        )
    return Fourier(leaf(values.reshape(height, width, 1)), (height, width, channels), two_channel, centered)


@public
def random_fourier(
    key: PRNGKeyArray,
    shape: tuple[int, int, int],
    kept: float = 0.25,
    *,
    center: float = 0.08,
    two_channel: bool = False,
    centered: bool = False,
) -> Fourier:
    """Some columns of the Fourier transform: the lowest frequencies and random others, as in accelerated scans.

    Args:
        key: decides which; the same key keeps the same columns.
        shape, two_channel, centered: as in `fourier`.
        kept: share of kept columns in (0, 1); the number is exact, ``round(kept W)``.
        center: share of columns of lowest frequency that are kept in any case, in [0, kept].

    Raises:
        ValueError: shares out of range, and as `fourier`.
    """
    height, width, _ = check_image_shape(shape)
    check_number("kept", kept, low=0.0, high=1.0)
    check_number("center", center, low=0.0, high=kept)
    count, low = round(kept * width), round(center * width)
    if not 0 < count < width:
        raise ValueError(f"kept={kept} keeps {count} of {width} columns; choose a share in between")
    by_frequency = np.argsort(np.abs(np.fft.fftfreq(width)), kind="stable")
    with jax.ensure_compile_time_eval():
        order = jax.random.permutation(root_key(key), width - low)
    others = by_frequency[low:][entries("key", order).astype(int)]
    columns = np.zeros(width)
    columns[by_frequency[:low]] = columns[others[: count - low]] = 1.0
    columns = np.fft.fftshift(columns) if centered else columns
    return fourier(shape, np.tile(columns, (height, 1)), two_channel=two_channel, centered=centered)
