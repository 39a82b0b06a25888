"""Coordinates in which a transform that is not linear acts on a prediction: x0, eps, v or velocity.

    v = (alpha eps - sigma x0) / sqrt(alpha^2 + sigma^2)          velocity = x0 - eps, the slope of x / (alpha + sigma)

Weights that sum to 1 act alike in all of them; norms, projections and thresholds do not, so those transforms say where
they act.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Array, Float

from tfg_jax.denoiser import Clean
from tfg_jax.schedules import Level

Space = Literal["x0", "eps", "v", "velocity"]
SPACES = ("x0", "eps", "v", "velocity")


def read(clean: Clean, level: Level, space: Space) -> Float[Array, "*shape"]:
    """The prediction in a space."""
    match space:
        case "x0":
            return clean.x0
        case "eps":
            return clean.eps
        case "v":
            return (level.alpha * clean.eps - level.sigma * clean.x0) / level.scale
        case "velocity":
            return clean.x0 - clean.eps


def write(value: Float[Array, "*shape"], x: Float[Array, "*shape"], level: Level, space: Space) -> Clean:
    """The clean estimate and noise of ``x`` whose prediction in a space is ``value``; the inverse of `read`."""
    alpha, sigma = level.alpha, level.sigma
    match space:
        case "x0":
            return Clean(value, (x - alpha * value) / sigma)
        case "eps":
            return Clean((x - sigma * value) / alpha, value)
        case "v":
            scale = level.scale
            return Clean(alpha / scale**2 * x - sigma / scale * value, sigma / scale**2 * x + alpha / scale * value)
        case "velocity":
            return Clean((x + sigma * value) / (alpha + sigma), (x - alpha * value) / (alpha + sigma))
