"""Pseudoinverse-guided diffusion (PiGDM, Song et al., ICLR 2023, openreview 9_gsMA8MRKQ).

    g = J_D^T A^T (r^2 A A^T + noise_std^2 I)^-1 (y - A x0)          r^2 = sigma^2 / (sigma^2 + alpha^2)

    weighting="published":  x_next = rule(x_t, x0) + strength alpha r^2 g          in VP coordinates
    weighting="score":      eps' = eps - strength sigma g,      x_next = rule(x_t, x0(eps'), eps')

g is the score of y given x_t if the clean sample given x_t were N(x0, r^2 I). The paper's weight ``alpha r^2`` does not
know the step's length and is steadier with a network; "score" is Bayes' rule under any sampler, its x0' clipped if the
run has a clip. Its objective is `gaussian_log_likelihood`. A nonlinear operator is linearized at x0.
Cost a step: 1 network forward, 1 pullback, 1 objective gradient.
Reduces to: with "score", strength = 1 and a linear operator, the exact conditional score of data of covariance
data_std^2 I.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class PiGDM:
    """Pseudoinverse-guided diffusion.

    Attributes:
        strength: scale of g, >= 0, dimensionless (traced); 1 is the paper, and Bayes' rule with "score".
        data_std: standard deviation of the data around its mean, > 0 (traced), in
            ``r^2 = data_std^2 sigma^2 / (sigma^2 + data_std^2 alpha^2)``; 1 is the paper.
        weighting: "published" or "score", how g enters the step.
    """

    strength: ArrayLike = 1.0
    data_std: ArrayLike = 1.0
    weighting: Literal["published", "score"] = struct.field(pytree_node=False, default="published")
    n_recur = 1
    gaussian_measurement = True  # its objective is the likelihood of a Gaussian measurement

    @property
    def needs_signal(self) -> bool:
        """Whether it edits eps."""
        return self.weighting == "score"

    def check(self) -> None:
        """Raise ValueError for a bad strength, data_std or weighting."""
        check_number("strength", self.strength, low=0.0)
        check_number("data_std", self.data_std, low=0.0, strict=True)
        check_choice("weighting", self.weighting, ("published", "score"))

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        now, wide = ctx.now, self.data_std**2
        variance = wide * now.sigma**2 / (now.sigma**2 + wide * now.alpha**2)
        g = pullback(ctx.measurement_gradient(x0, variance).astype(x0.dtype))
        if self.weighting == "published":
            shift = self.strength * jnp.sqrt(now.abar) * variance * ctx.vp_shift(g)
            return ctx.advance(ctx.denoised).shifted(shift), state
        edit = self.strength * now.sigma * g
        eps = ctx.denoised.eps - edit
        return ctx.advance(ctx.clipped(Denoised((ctx.x - now.sigma * eps) / now.alpha, eps)), edit), state
