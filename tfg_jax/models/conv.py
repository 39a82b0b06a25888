"""A 2-D convolution whose input gradient is fast inside compiled loops.

JAX writes the input gradient of a convolution by swapping the kernel's channel axes in the dimension numbers. XLA on
CPU brings such convolutions to the fast form only outside of loops, and a sampler is one loop: guidance gradients ran 7
to 15 times slower there than alone. Here the swap is written as a transpose of the (loop-invariant) kernel: the same
sum in another form, which changes nothing on other platforms.

The rule is reverse-mode only: use ``jax.lax.conv_general_dilated`` in a network that needs ``jax.jvp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], ...]
NHWC = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
    lhs: Float[Array, "b h w c"],
    rhs: Float[Array, "kh kw c f"],
    window_strides: Sequence[int],
    padding: Any,
    **options: Any,
) -> Float[Array, "b H W f"]:
    """As ``jax.lax.conv_general_dilated`` for NHWC images and HWIO kernels; pass it to ``flax.nnx.Conv``.

    Args:
        lhs: images.
        rhs: kernel.
        window_strides: (sh, sw), each >= 1.
        padding: "SAME", "VALID" or ((low, high), (low, high)).
        **options: others of ``jax.lax.conv_general_dilated``; dilated or grouped convolutions take its own gradient.
    """
    strides = tuple(window_strides)
    dilated = any(step != 1 for name in ("lhs_dilation", "rhs_dilation") for step in options.get(name) or ())
    if dilated or options.get("feature_group_count", 1) != 1:
        return lax.conv_general_dilated(lhs, rhs, strides, padding, **options)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    return _conv(lhs, rhs, strides, pads, options.get("precision"))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(lhs: Array, rhs: Array, strides: tuple[int, ...], pads: Pads, precision: Any) -> Array:
    return lax.conv_general_dilated(lhs, rhs, strides, pads, dimension_numbers=NHWC, precision=precision)


def _forward(lhs: Any, rhs: Any, strides: tuple[int, ...], pads: Pads, precision: Any) -> tuple[Array, tuple]:
    trained = () if rhs.perturbed else None  # known while tracing, since it is structure
    return _conv(lhs.value, rhs.value, strides, pads, precision), (lhs.value, rhs.value, trained)


def _backward(strides: tuple[int, ...], pads: Pads, precision: Any, kept: tuple, cotangent: Array) -> tuple:
    lhs, rhs, trained = kept
    back = []
    for size, kernel, out, step, (low, _) in zip(
        lhs.shape[1:3], rhs.shape[:2], cotangent.shape[1:3], strides, pads, strict=True
    ):
        front = kernel - 1 - low
        back.append((front, size + kernel - 1 - ((out - 1) * step + 1) - front))
    swapped = jnp.flip(rhs, (0, 1)).transpose(0, 1, 3, 2)
    d_lhs = lax.conv_general_dilated(
        cotangent, swapped, (1, 1), back, lhs_dilation=strides, dimension_numbers=NHWC, precision=precision
    )
    if trained is None:  # its gradient would be dead code, which cannot be lowered for any number of samples
        return d_lhs, None
    of_kernel = lambda rhs: lax.conv_general_dilated(  # noqa: E731
        lhs, rhs, strides, pads, dimension_numbers=NHWC, precision=precision
    )
    (d_rhs,) = jax.linear_transpose(of_kernel, rhs)(cotangent)
    return d_lhs, d_rhs


_conv.defvjp(_forward, _backward, symbolic_zeros=True)
