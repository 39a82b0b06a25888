"""Diffusion posterior sampling (Chung et al., ICLR 2023, arXiv 2209.14687).

    x_next = rule(x_t, x0) + strength * grad_{x_t} f(x0(x_t)) / normalizer

normalize="value": |f(x0)|, the TFG benchmark's baseline, for a log-weight of one sign such as a log-probability: where
f crosses 0 the step has no bound, and samples diverge. "residual": the paper's norm of the measurement residual, with
an objective such as -||y - A x0||^2 that has one.
Cost a step: 1 network forward, 1 pullback, 1 objective gradient.
Reduces to: TFG with rho_t = strength sqrt(a_t / a_next) / |f|, mu = None, smoothing = None, per sample.
"""

from __future__ import annotations

from typing import Literal

from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_number, safe_abs
from tfg_jax.guidance.base import Next, StepContext, value_and_gradient
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class DPS:
    """Diffusion posterior sampling.

    Attributes:
        strength: step size, >= 0, dimensionless (traced).
        normalize: "value" or "residual", what divides the gradient; "value" needs an objective of one
            sign, away from 0, and cannot see that of your own function: a sample that diverges says so.
    """

    strength: ArrayLike = 1.0
    normalize: Literal["value", "residual"] = struct.field(pytree_node=False, default="value")
    n_recur = 1

    def check(self) -> None:
        """Raise ValueError for a bad strength or normalizer."""
        check_number("strength", self.strength, low=0.0)
        check_choice("normalize", self.normalize, ("value", "residual"))

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        value, gradient = value_and_gradient(ctx.objective, x0)
        normalizer = value if self.normalize == "value" else ctx.residual_norm(x0)
        shift = self.strength * ctx.vp_shift(pullback(gradient)) / safe_abs(normalizer)
        return ctx.advance(ctx.denoised).shifted(shift), state
