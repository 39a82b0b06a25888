"""Rescaled classifier-free guidance."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import safe_norm
from tfg_jax.declare import child, choice, number, static
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import BATCHED, MODEL, Transform, W, Weight, extrapolate
from tfg_jax.guidance.classifier_free.spaces import Space, read, write
from tfg_jax.schedules import Level


@struct.dataclass
class RescaledCFG(Transform):
    """Rescaled classifier-free guidance (Lin et al., WACV 2024, arXiv 2305.08891).

        g = (1 + w) cond - w uncond,        out = phi g std(cond) / std(g) + (1 - phi) g

    with standard deviations over the entries of one sample. Acts on v, the prediction of the paper's models, unless
    told.
    Cost an evaluation: 2 network forwards, in one batched call.
    Reduces to: `CFG` at phi = 0.

    Cite: Trailing
    """

    model: Model = child(help=MODEL)
    w: Weight = number(default=1.0, per_sample=True, help=W)
    phi: ArrayLike = number(default=0.7, low=0.0, high=1.0, per_sample=True, help="share of the rescaled prediction")
    space: Space = choice(default="v", help="where it acts")
    batched: bool = static(default=True, help=BATCHED)

    def combine(self, x: Array, level: Level, w: Any, towards: Denoised, away: Denoised) -> Denoised:
        """The guided prediction, brought back to the spread of the conditional one."""
        guided = read(extrapolate(w, towards, away), level, self.space)
        wide, target = _spread(guided), _spread(read(towards, level, self.space))
        # A constant prediction has no spread to bring back.
        ratio = jnp.where(wide > 0, target / jnp.where(wide > 0, wide, 1.0), 1.0)
        phi = jnp.asarray(self.phi)
        out = write((phi * ratio * guided + (1.0 - phi) * guided).astype(x.dtype), x, level, self.space)
        return towards.replace(x0=out.x0, eps=out.eps)  # type: ignore[attr-defined]


def _spread(value: Array) -> Array:
    return safe_norm(value - jnp.mean(value))
