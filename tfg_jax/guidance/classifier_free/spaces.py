"""Coordinates in which a transform that is not linear acts on a prediction: x0, eps, v or velocity.

    v = (alpha eps - sigma x0) / sqrt(alpha^2 + sigma^2)          velocity = x0 - eps, the gradient of x / (alpha +
    sigma)

Weights that sum to 1 act alike in all of them; norms, projections and thresholds do not, so those transforms say where
they act.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Array, Float

from tfg_jax.denoiser import Denoised
from tfg_jax.schedules import Level

Space = Literal["x0", "eps", "v", "velocity"]


def read(denoised: Denoised, level: Level, space: Space) -> Float[Array, "*shape"]:
    """The prediction in a space."""
    match space:
        case "x0":
            return denoised.x0
        case "eps":
            return denoised.eps
        case "v":
            return (level.alpha * denoised.eps - level.sigma * denoised.x0) / level.scale
        case "velocity":
            return denoised.x0 - denoised.eps


def write(value: Float[Array, "*shape"], x: Float[Array, "*shape"], level: Level, space: Space) -> Denoised:
    """The denoised estimate and noise of ``x`` whose prediction in a space is ``value``; the inverse of `read`."""
    alpha, sigma = level.alpha, level.sigma
    match space:
        case "x0":
            return Denoised(value, (x - alpha * value) / sigma)
        case "eps":
            return Denoised((x - sigma * value) / alpha, value)
        case "v":
            scale = level.scale
            return Denoised(alpha / scale**2 * x - sigma / scale * value, sigma / scale**2 * x + alpha / scale * value)
        case "velocity":
            return Denoised((x + sigma * value) / (alpha + sigma), (x - alpha * value) / (alpha + sigma))
