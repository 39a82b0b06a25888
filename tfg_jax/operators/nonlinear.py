"""Nonlinear operators: limited dynamic range, and the magnitudes of a Fourier transform."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from tfg_jax import struct
from tfg_jax.checks import check_number, readable
from tfg_jax.kinds import public
from tfg_jax.operators.base import check_image_shape, expect


@struct.dataclass
class DynamicRange:
    """``y = clip(gain x, -1, 1)``: an overexposed photograph; build it with `dynamic_range`.

    Attributes:
        gain: > 1 (traced).
        shape: (H, W, C).
    """

    gain: ArrayLike
    shape: tuple[int, int, int] = struct.field(pytree_node=False)

    def __call__(self, x0: Inexact[Array, "..."]) -> Float[Array, "H W C"]:
        expect(self, "x0", x0.shape, self.shape)
        _refuse_complex(self, x0)
        return jnp.clip(self.gain * x0, -1.0, 1.0).astype(x0.dtype)


@struct.dataclass
class PhaseRetrieval:
    """``y = |F pad(b)|`` of the brightness ``b = (x + 1) / 2``, F the unitary 2-D Fourier transform; the phase is lost.

    Shifts and the half-turn of an image on black give the same y, so single restorations may come out turned around.
    Build it with `phase_retrieval`.

    Attributes:
        shape: (H, W, C).
        size: (h, w), the sides after padding with black.
    """

    shape: tuple[int, int, int] = struct.field(pytree_node=False)
    size: tuple[int, int] = struct.field(pytree_node=False)
    measures_images = False  # magnitudes are no brightness in [-1, 1]: no Poisson noise of pixels

    def __call__(self, x0: Inexact[Array, "..."]) -> Float[Array, "h w C"]:
        expect(self, "x0", x0.shape, self.shape)
        _refuse_complex(self, x0)
        wave = jnp.fft.fft2(0.5 * (x0 + 1.0), s=self.size, axes=(0, 1), norm="ortho")
        power = wave.real**2 + wave.imag**2
        # A magnitude of 0 has gradient 0, not NaN.
        some = power > 0
        return jnp.where(some, jnp.sqrt(jnp.where(some, power, 1.0)), 0.0).astype(x0.dtype)


def _refuse_complex(operator: Any, x0: Array) -> None:
    if jnp.iscomplexobj(x0):
        raise ValueError(f"x0 is complex, but operator {type(operator).__name__} measures brightness; give real images")


@public
def dynamic_range(shape: tuple[int, int, int], gain: ArrayLike = 2.0) -> DynamicRange:
    """Brightening by a gain, then clipping to [-1, 1].

    Args:
        shape: (H, W, C) of the images.
        gain: > 1 (traced).

    Raises:
        ValueError: gain <= 1, which clips nothing.
    """
    check_number("gain", gain, low=1.0, strict=True)
    return DynamicRange(gain, check_image_shape(shape))


@public
def phase_retrieval(shape: tuple[int, int, int], oversampling: float = 2.0) -> PhaseRetrieval:
    """Fourier magnitudes of images padded with black.

    Args:
        shape: (H, W, C) of the images.
        oversampling: sides after padding over sides before, in [1, 8]; 2 determines an image up to its symmetries.

    Raises:
        ValueError: oversampling out of range.
    """
    height, width, channels = check_image_shape(shape)
    check_number("oversampling", oversampling, low=1.0, high=8.0)
    over = float(readable("oversampling", oversampling))
    return PhaseRetrieval((height, width, channels), (round(over * height), round(over * width)))
