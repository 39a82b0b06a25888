"""Measurements as objectives: how well a clean sample explains ``y = A(x0) + noise``; the target is y.

The operator is any pytree called as ``operator(x0) -> y`` on one sample, or as ``operator(x0, cond=cond)``, with the
sample's condition, if it has a parameter ``cond``. Where y is complex, ``||.||^2`` is the sum of ``|.|^2``: real and
imaginary part count as two measurements, each with noise of its own.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_number, is_concrete, safe_norm, squared
from tfg_jax.domains.base import Domain, Spec
from tfg_jax.kinds import public
from tfg_jax.objectives.base import check_leading, output_of, takes_cond
from tfg_jax.operators.base import measurement_gradient
from tfg_jax.operators.noise import check_brightness, check_counts_photons

FLOOR = 0.1
"""Expected counts below this are judged by the tangent of the log-likelihood there: finite for black and beyond."""


class Residual(abc.ABC):
    """Members shared by the measurement objectives."""

    operator: Any
    noisy = False
    counts_photons = False

    @property
    def uses_cond(self) -> bool:
        """Whether the operator looks at the sample's condition."""
        return takes_cond(self.operator)

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """The target must be (num_samples, *measurement) floats or complex numbers, as the operator gives them; what an
        operator of the condition gives is not known before there is one."""
        if self.uses_cond:
            check_leading(target, num_samples)
            return
        one = output_of(self.operator, Domain(Spec.of(shape)).arrays())
        if self.counts_photons:
            check_brightness(self.operator, one)
        is_complex = jnp.issubdtype(one.dtype, jnp.complexfloating)
        kind, word = (jnp.complexfloating, "complex") if is_complex else (jnp.floating, "float")
        expected = (num_samples, *one.shape)
        got, dtype = getattr(target, "shape", None), getattr(target, "dtype", None)
        if got != expected or dtype is None or not jnp.issubdtype(dtype, kind):
            raise ValueError(
                f"target must be {word} measurements of shape {expected}, got shape {got} and dtype {dtype}; "
                "give operator(x0) of each sample"
            )
        if is_concrete(target) and not np.all(np.isfinite(np.asarray(target))):
            raise ValueError("target holds NaN or infinity; give finite measurements")

    def usable(self, target: Array) -> Array:
        """Whether the measurement is finite."""
        return jnp.all(jnp.isfinite(target))

    @abc.abstractmethod
    def value(self, y: Array, target: Array) -> Float[Array, ""]:
        """The log-weight of a clean sample that the operator makes y of."""

    def norm(self, y: Array, target: Array) -> Float[Array, ""]:
        """``||target - y||``, with gradient 0 at 0."""
        return safe_norm(target - y)

    def __call__(self, x0: PyTree, target: Inexact[Array, "*measurement"], **cond: Any) -> Float[Array, ""]:
        return self.value(self.operator(x0, **cond), target)

    def with_residual(self, x0: PyTree, target: Array, **cond: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The log-weight and the norm of the residual; the operator is applied once."""
        y = self.operator(x0, **cond)
        return self.value(y, target), self.norm(y, target)

    def residual_norm(self, x0: PyTree, target: Array, **cond: Any) -> Float[Array, ""]:
        """The norm of the residual."""
        return self.norm(self.operator(x0, **cond), target)


@struct.dataclass
class GaussianLogLikelihood(Residual):
    """``-||y - A(x0)||^2 / (2 noise_std^2)``; build it with `gaussian_log_likelihood`."""

    operator: Callable[..., Array]
    noise_std: ArrayLike

    def value(self, y: Array, target: Array) -> Float[Array, ""]:
        """``-||target - y||^2 / (2 noise_std^2)``."""
        return -0.5 * jnp.sum(squared((target - y) / self.noise_std))

    def measurement_gradient(self, x0: Array, target: Array, variance: ArrayLike) -> Array:
        """Gradient in the mean x0 of ``log p(y)`` if the clean sample is N(x0, variance I), for `PiGDM`."""
        return measurement_gradient(self.operator, x0, target - self.operator(x0), variance, self.noise_std**2)


@struct.dataclass
class PoissonLogLikelihood(Residual):
    """Photon counts, ``sum n log(rate / n) - rate + n <= 0``; build it with `poisson_log_likelihood`."""

    operator: Callable[..., Array]
    peak: ArrayLike
    counts_photons = True

    def value(self, y: Array, target: Array) -> Float[Array, ""]:
        """The log-likelihood of counts, minus its maximum."""
        count = jnp.maximum(0.5 * self.peak * (target + 1.0), 0.0)
        rate = 0.5 * self.peak * (y + 1.0)
        floored = jnp.maximum(rate, FLOOR)
        log_rate = jnp.log(floored) + (rate - floored) / FLOOR
        seen = count > 0
        own = jnp.where(seen, count * jnp.log(jnp.where(seen, count, 1.0)), 0.0)
        return jnp.sum(count * log_rate - floored - own + count)


@struct.dataclass
class ResidualNorm(Residual):
    """``-||y - A(x0)||``, the norm itself; build it with `residual_norm`."""

    operator: Callable[..., Array]

    def value(self, y: Array, target: Array) -> Float[Array, ""]:
        """``-||target - y||``."""
        return -self.norm(y, target)


@struct.dataclass
class PhotonResidual(Residual):
    """Photon counts by their Gaussian approximation, in residuals; build it with `photon_residual`."""

    operator: Callable[..., Array]
    peak: ArrayLike
    squared: bool = struct.field(pytree_node=False, default=False)
    counts_photons = True

    def norm(self, y: Array, target: Array) -> Float[Array, ""]:
        """``||w (target - y)||``, w as in `photon_residual`, with gradient 0 at 0."""
        count = jnp.maximum(0.5 * self.peak * (target + 1.0), 0.0)
        variance = count + 1.0
        weight = jax.lax.rsqrt(variance * jnp.mean(1.0 / variance))
        return safe_norm(weight * (target - y))

    def value(self, y: Array, target: Array) -> Float[Array, ""]:
        """Minus the norm, or half its square."""
        norm = self.norm(y, target)
        return -0.5 * norm**2 if self.squared else -norm


@public
def gaussian_log_likelihood(operator: Callable[..., Array], noise_std: ArrayLike) -> GaussianLogLikelihood:
    """The log-likelihood of a measurement with Gaussian noise, up to a constant.

    Args:
        operator: ``x0 -> y`` of one sample, a pytree (a plain function is held static).
        noise_std: standard deviation of the measurement noise (of its real and its imaginary part each, if complex),
            > 0, in units of y (traced).

    Raises:
        ValueError: noise_std <= 0 or not finite.
    """
    check_number("noise_std", noise_std, low=0.0, strict=True)
    return GaussianLogLikelihood(as_pytree(operator), noise_std)


@public
def poisson_log_likelihood(operator: Callable[..., Array], peak: ArrayLike) -> PoissonLogLikelihood:
    """The log-likelihood of photon counts, as `tfg_jax.operators.measure_poisson` draws them, minus its maximum.

    Args:
        operator: ``x0 -> y`` of one sample with measurements in [-1, 1], a pytree (a plain function is held static).
        peak: expected count of a white pixel, > 0 (traced).

    Raises:
        ValueError: peak <= 0 or not finite, or an operator whose measurements are no images.
    """
    check_number("peak", peak, low=0.0, strict=True)
    check_counts_photons(operator)
    return PoissonLogLikelihood(as_pytree(operator), peak)


@public
def photon_residual(operator: Callable[..., Array], peak: ArrayLike, *, squared: bool = False) -> PhotonResidual:
    """``-||w (y - A(x0))||`` for photon counts, w^2 proportional to one over each pixel's variance and of mean 1.

    The variance of n photons is read off the measurement, n + 1: what a pixel that counted none may hide is not
    nothing. In the units of `residual_norm`, whatever the peak, so strengths carry over.

    Args:
        operator: ``x0 -> y`` of one sample with measurements in [-1, 1], a pytree (a plain function is held static).
        peak: expected count of a white pixel, > 0 (traced).
        squared: half the square of the norm, for methods that divide by the norm themselves.

    Raises:
        ValueError: peak <= 0 or not finite, or an operator whose measurements are no images.
    """
    check_number("peak", peak, low=0.0, strict=True)
    check_counts_photons(operator)
    return PhotonResidual(as_pytree(operator), peak, squared)


@public
def residual_norm(operator: Callable[..., Array]) -> ResidualNorm:
    """The TFG benchmark's energy of inverse problems: minus the residual norm, not squared.

    Args:
        operator: ``x0 -> y`` of one sample, a pytree (a plain function is held static).
    """
    return ResidualNorm(as_pytree(operator))


def as_pytree(operator: Callable[..., Array]) -> Callable[[Array], Array]:
    """``operator`` itself where it is a pytree; a plain function as one without leaves."""
    leaves = jax.tree.leaves(operator)
    return jax.tree_util.Partial(operator) if len(leaves) == 1 and leaves[0] is operator else operator
