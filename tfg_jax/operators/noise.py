"""Noise of measurements: ``y = A(x0) + noise_std z``, or photon counts. One sample and one key; vmap maps both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from tfg_jax.checks import check_number
from tfg_jax.kinds import public
from tfg_jax.noise import root_key


@public
def measure(
    operator: Callable[[Array], Array], x0: Inexact[Array, "*shape"], noise_std: ArrayLike, key: PRNGKeyArray
) -> Inexact[Array, "*measurement"]:
    """A measurement of one sample with Gaussian noise; what a mask hides gets none.

    A complex measurement counts as two real ones: its real and its imaginary part get independent noise of
    ``noise_std`` each, so that ``E |noise|^2 = 2 noise_std^2`` and its log-likelihood is
    ``-||y - A x||^2 / (2 noise_std^2)``, as of real ones.

    Args:
        operator: ``x0 -> y`` of one sample.
        x0: the sample.
        noise_std: standard deviation of the noise (of each part, if complex), > 0, in units of y (traced).
        key: decides the noise.

    Raises:
        ValueError: noise_std <= 0, or a sample of another shape than the operator's.
    """
    check_number("noise_std", noise_std, low=0.0, strict=True)
    y = operator(x0)
    noise = jax.random.normal(root_key(key), y.shape, y.dtype)
    if jnp.iscomplexobj(y):
        noise = math.sqrt(2.0) * noise  # JAX shares a variance of 1 among both parts
    return (y + noise_std * _observed(operator) * noise).astype(y.dtype)


@public
def measure_poisson(
    operator: Callable[[Array], Array], x0: Float[Array, "*shape"], peak: ArrayLike, key: PRNGKeyArray
) -> Float[Array, "*measurement"]:
    """A measurement of one sample by counting photons: ``y = 2 n / peak - 1``, ``n ~ Poisson(peak (A(x0) + 1) / 2)``.

    Args:
        operator: ``x0 -> y`` of one sample, images in [-1, 1]; slightly lower values (bicubic) count as black.
        x0: the sample.
        peak: expected count of a white pixel, > 0 (traced); fewer is noisier.
        key: decides the noise.

    Raises:
        ValueError: peak <= 0, an operator whose measurements are no images, or a sample of another shape than its.
    """
    check_number("peak", peak, low=0.0, strict=True)
    check_counts_photons(operator)
    y = operator(x0)
    check_brightness(operator, y)
    count = jax.random.poisson(root_key(key), peak * jnp.maximum(0.5 * (y + 1.0), 0.0))
    noisy = 2.0 * count / peak - 1.0
    return jnp.where(_observed(operator) > 0, noisy, y).astype(y.dtype)


def check_counts_photons(operator: Any) -> None:
    """Raise ValueError for an operator whose measurements are not images in [-1, 1]."""
    if not getattr(operator, "measures_images", True):
        raise ValueError(f"operator {type(operator).__name__} measures no brightness in [-1, 1]; use Gaussian noise")


def check_brightness(operator: Any, y: Any) -> None:
    """Raise ValueError for a complex measurement ``y``, or its shape and dtype: nothing that photons count."""
    if jnp.issubdtype(y.dtype, jnp.complexfloating):
        raise ValueError(
            f"operator {type(operator).__name__} measures complex numbers, no brightness; use Gaussian noise"
        )


def _observed(operator: Any) -> Array:
    return jnp.asarray(getattr(operator, "observed", 1.0))
