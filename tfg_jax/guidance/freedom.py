"""FreeDoM (Yu et al., ICCV 2023, arXiv 2303.09833): gradient guidance with recurrence ("time travel").

    x_next = rule(x_t, x0) + rho_t grad_{x_t} f(x0(x_t)),      repeated n_recur times with re-noising in between

rho_t is ``strength`` spread over the steps by ``structure``, as in the TFG benchmark.
Cost a step and recurrence: 1 network forward, 1 pullback, 1 objective gradient.
Reduces to: TFG with rho_t sqrt(a_t / a_next), mu = None, smoothing = None.
"""

from __future__ import annotations

import jax
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_count, check_number
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.guidance.strengths import STRUCTURES, Structure, spread
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class FreeDoM:
    """FreeDoM.

    Attributes:
        strength: mean step size, >= 0, dimensionless (traced).
        n_recur: recurrences, >= 1.
        structure: "increase", "decrease" or "constant" over the steps.
    """

    strength: ArrayLike = 1.0
    n_recur: int = struct.field(pytree_node=False, default=1)
    structure: Structure = struct.field(pytree_node=False, default="increase")

    def check(self) -> None:
        """Raise ValueError for a bad strength, count or structure."""
        check_number("strength", self.strength, low=0.0)
        check_count("n_recur", self.n_recur)
        check_choice("structure", self.structure, STRUCTURES)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step and recurrence."""
        return Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=1)

    def prepare(self, levels: Level) -> tuple[Array, None]:
        """rho_t of each step."""
        return spread(self.strength, self.structure, levels), None

    def step(self, ctx: StepContext, per_step: Array, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        shift = per_step * ctx.vp_shift(pullback(jax.grad(ctx.objective)(x0)))
        return ctx.advance(ctx.denoised).shifted(shift), state
