"""Manifold-preserving guided diffusion without a projector (MPGD, He et al., ICLR 2024, arXiv 2311.16424).

    x0' = x0 + strength grad f(x0)            x_next = rule(x_t, x0', eps)

The network's own eps is kept, also when x0 was clipped; so with a clip, strength 0 is not the clipped unguided step.
Cost a step: 1 network forward, no pullback, 1 objective gradient.
Reduces to: TFG with rho = None, mu = strength, mu_structure="constant", n_iter = 1, without a clip.
"""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class MPGD:
    """Manifold-preserving guided diffusion.

    Attributes:
        strength: step size at the denoised estimate, >= 0, in units of data^2 (traced).
    """

    strength: ArrayLike = 1.0
    n_recur = 1

    def check(self) -> None:
        """Raise ValueError for a bad strength."""
        check_number("strength", self.strength, low=0.0)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, _ = ctx.lookahead()
        edit = self.strength * jax.grad(ctx.objective)(x0)
        return ctx.advance(Denoised(ctx.denoised.x0 + edit, ctx.raw.eps), edit), state
