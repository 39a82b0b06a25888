"""Loss-guided diffusion with Monte-Carlo smoothing (LGD-MC, Song et al., ICML 2023).

    x_next = rule(x_t, x0) + (strength / n_mc) grad_{x_t} log sum_j exp f(x0(x_t) + sqrt(1 - abar_t) z_j)

The 1 / n_mc is the TFG benchmark's: an extra shrink, since the gradient of log-sum-exp is already a weighted mean.
Cost a step: 1 network forward, 1 pullback, n_mc objective gradients.
Reduces to: TFG with rho_t = strength sqrt(a_t / a_next) / n_mc, mu = None, smoothing = 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number
from tfg_jax.guidance.base import Next, StepContext, smoothed
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class LGD:
    """LGD-MC.

    Attributes:
        strength: step size, >= 0, dimensionless (traced).
        n_mc: Monte-Carlo draws, >= 1.
    """

    strength: ArrayLike = 1.0
    n_mc: int = struct.field(pytree_node=False, default=10)
    n_recur = 1

    def check(self) -> None:
        """Raise ValueError for a bad strength or count."""
        check_number("strength", self.strength, low=0.0)
        check_count("n_mc", self.n_mc)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=self.n_mc)

    def prepare(self, levels: Level) -> tuple[Array, None]:
        """The radius of each step, ``sqrt(1 - abar)``."""
        return jnp.sqrt(levels.noise_share[:-1]), None

    def step(self, ctx: StepContext, per_step: Array, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        gradient = jax.grad(smoothed(ctx.objective, per_step * ctx.noise.mc(self.n_mc)))(x0)
        shift = self.strength / self.n_mc * ctx.vp_shift(pullback(gradient))
        return ctx.advance(ctx.denoised).shifted(shift), state
