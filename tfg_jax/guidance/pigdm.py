"""Pseudoinverse-guided diffusion."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.declare import Needs, choice, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Method, Next, StepContext


@struct.dataclass
class PiGDM(Method):
    """Pseudoinverse-guided diffusion (Song et al., ICLR 2023, openreview 9_gsMA8MRKQ).

        x_next = rule(x0, eps) + strength alpha r^2 g
        g      = J^T A^T (r^2 A A^T + noise_std^2 I)^-1 (y - A x0)
        r^2    = data_std^2 sigma^2 / (sigma^2 + data_std^2 alpha^2)

    J is the network's Jacobian; weighting="score" instead: ``eps' = eps - strength sigma g``, ``x_next = rule(x0(eps'),
    eps')``. g is the score of y given x_t if the clean sample given x_t were N(x0, r^2 I). The paper's weight
    ``alpha r^2`` does not know the step's length and is steadier with a network; "score" is Bayes' rule under any
    sampler, its x0' clipped if the run has a clip. Its objective is `gaussian_log_likelihood`; a nonlinear operator is
    linearized at x0.
    Cost a step: 1 network forward, 1 pullback, 1 objective gradient.
    Reduces to: with "score", strength = 1 and a linear operator, the exact conditional score of data of covariance
    data_std^2 I.

    @inproceedings{song2023pigdm,
      title = {Pseudoinverse-Guided Diffusion Models for Inverse Problems},
      author = {Song, Jiaming and Vahdat, Arash and Mardani, Morteza and Kautz, Jan},
      booktitle = {International Conference on Learning Representations},
      year = {2023},
    }
    """

    strength: ArrayLike = number(
        default=1.0, low=0.0, help='scale of g, dimensionless; 1 is the paper, and Bayes\' rule with "score"'
    )
    data_std: ArrayLike = number(
        default=1.0, low=0.0, strict=True, help="standard deviation of the data around its mean; 1 is the paper"
    )
    weighting: Literal["published", "score"] = choice(default="published", help="how g enters the step")

    @property
    def needs(self) -> Needs:
        """The likelihood of a Gaussian measurement; "score" edits eps."""
        return Needs(pullbacks=1, gradients=1, objective="gaussian", eps=self.weighting == "score")

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        now, wide = ctx.now, self.data_std**2
        variance = wide * now.sigma**2 / (now.sigma**2 + wide * now.alpha**2)
        g = pullback(ctx.measurement_gradient(x0, variance).astype(x0.dtype))
        if self.weighting == "published":
            shift = self.strength * jnp.sqrt(now.abar) * variance * ctx.vp_shift(g)
            return ctx.advance(ctx.denoised).shifted(shift)
        edit = self.strength * now.sigma * g
        eps = ctx.denoised.eps - edit
        return ctx.advance(ctx.clipped(Denoised((ctx.x - now.sigma * eps) / now.alpha, eps)), edit)
