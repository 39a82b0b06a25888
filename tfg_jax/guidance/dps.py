"""Diffusion posterior sampling."""

from __future__ import annotations

from typing import ClassVar, Literal

from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import safe_abs
from tfg_jax.declare import Needs, choice, number
from tfg_jax.guidance.base import Method, Next, StepContext


@struct.dataclass
class DPS(Method):
    """Diffusion posterior sampling (Chung et al., ICLR 2023, arXiv 2209.14687).

        x_next = rule(x0, eps) + strength grad_{x_t} f(x0) / normalizer

    normalize="value": |f(x0)|, the TFG benchmark's baseline, for a log-weight of one sign such as a log-probability:
    where f crosses 0 the step has no bound, and samples diverge. "residual": the paper's norm of the measurement
    residual, with an objective such as -||y - A x0||^2 that has one.
    Cost a step: 1 network forward, 1 pullback, 1 objective gradient.
    Reduces to: TFG with rho_t = strength sqrt(a_t / a_next) / |f|, mu = None, smoothing = None, per sample.

    @inproceedings{chung2023dps,
      title = {Diffusion Posterior Sampling for General Noisy Inverse Problems},
      author = {Chung, Hyungjin and Kim, Jeongsol and McCann, Michael T. and Klasky, Marc L. and Ye, Jong Chul},
      booktitle = {International Conference on Learning Representations},
      year = {2023},
      eprint = {2209.14687}, archiveprefix = {arXiv},
    }
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="step size, dimensionless")
    normalize: Literal["value", "residual"] = choice(
        default="value", help="what divides the gradient; of a function of your own the value's sign cannot be seen"
    )

    renamed: ClassVar = {"normalise": "normalize"}

    @property
    def needs(self) -> Needs:
        """One gradient through the network, of an objective of one sign or with a residual."""
        return Needs(pullbacks=1, gradients=1, objective="one sign" if self.normalize == "value" else "residual")

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        gradient = ctx.gradient(x0)
        normalizer = ctx.objective(x0) if self.normalize == "value" else ctx.residual_norm(x0)
        shift = self.strength * ctx.vp_shift(pullback(gradient)) / safe_abs(normalizer)
        return ctx.advance(ctx.denoised).shifted(shift)
