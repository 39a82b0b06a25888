"""Pseudoinverse-guided diffusion (PiGDM, Song et al., ICLR 2023, openreview 9_gsMA8MRKQ).

    g    = J_D^T A^T (r^2 A A^T + noise_std^2 I)^-1 (y - A x0)       r^2 = sigma^2 / (sigma^2 + alpha^2)
    eps' = eps - strength sigma g,                                    x_next = rule(x_t, x0(eps'), eps')

g is the score of y given x_t if the clean sample given x_t were N(x0, r^2 I). The paper adds ``alpha r^2 g`` after the
rule in place of the second line; here g joins the score, so the update is Bayes' rule under any sampler.
Its objective is `gaussian_log_likelihood`. A nonlinear operator is linearised at x0, solved by conjugate gradients.
Cost a step: 1 network forward, 1 pullback, 1 objective gradient.
Reduces to: the exact conditional score for data of covariance data_std^2 I, a linear operator and strength = 1.
"""

from __future__ import annotations

from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Clean
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class PiGDM:
    """Pseudoinverse-guided diffusion.

    Attributes:
        strength: scale of the score, >= 0, dimensionless (traced); 1 is Bayes' rule.
        data_std: standard deviation of the data around its mean, > 0 (traced), in
            ``r^2 = data_std^2 sigma^2 / (sigma^2 + data_std^2 alpha^2)``; 1 is the paper.
    """

    strength: ArrayLike = 1.0
    data_std: ArrayLike = 1.0
    n_recur = 1
    gaussian_measurement = True  # its objective is the likelihood of a Gaussian measurement

    def check(self) -> None:
        """Raise ValueError for a bad strength or data_std."""
        check_number("strength", self.strength, low=0.0)
        check_number("data_std", self.data_std, low=0.0, strict=True)

    def cost(self, look: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=look.forwards, pullbacks=look.pullbacks, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        now, wide = ctx.now, self.data_std**2
        variance = wide * now.sigma**2 / (now.sigma**2 + wide * now.alpha**2)
        slope = ctx.measurement_slope(x0, variance)
        eps = ctx.clean.eps - self.strength * now.sigma * pullback(slope.astype(x0.dtype))
        return ctx.advance(Clean((ctx.x - now.sigma * eps) / now.alpha, eps)), state
