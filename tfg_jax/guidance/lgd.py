"""Loss-guided diffusion with Monte-Carlo smoothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.declare import Needs, count, number
from tfg_jax.guidance.base import Method, Next, StepContext, smoothed
from tfg_jax.schedules import Level


@struct.dataclass
class LGD(Method):
    """Loss-guided diffusion with Monte-Carlo smoothing (LGD-MC, Song et al., ICML 2023).

        x_next = rule(x0, eps) + strength / n_mc grad_{x_t} log sum_j exp f(x0 + sqrt(1 - abar_t) z_j)

    The 1 / n_mc is the TFG benchmark's: an extra shrink, since the gradient of log-sum-exp is already a weighted mean.
    Cost a step: 1 network forward, 1 pullback, n_mc objective gradients.
    Reduces to: TFG with rho_t = strength sqrt(a_t / a_next) / n_mc, mu = None, smoothing = 1.

    @inproceedings{song2023lgd,
      title = {Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation},
      author = {Song, Jiaming and Zhang, Qinsheng and Yin, Hongxu and Mardani, Morteza and Liu, Ming-Yu and
                Kautz, Jan and Chen, Yongxin and Vahdat, Arash},
      booktitle = {International Conference on Machine Learning},
      year = {2023},
    }
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="step size, dimensionless")
    n_mc: int = count(default=10, help="Monte-Carlo draws")
    needs = Needs(pullbacks=1, gradients="n_mc")

    def prepare(self, levels: Level) -> tuple[Array, None]:
        """The radius of each step, ``sqrt(1 - abar)``."""
        return jnp.sqrt(levels.noise_share[:-1]), None

    def step(self, ctx: StepContext, per_step: Array, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        gradient = jax.grad(smoothed(ctx.objective, per_step * ctx.noise.mc(self.n_mc)))(x0)
        shift = self.strength / self.n_mc * ctx.vp_shift(pullback(gradient))
        return ctx.advance(ctx.denoised).shifted(shift), state
