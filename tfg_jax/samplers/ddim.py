"""DDIM."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import MAX_STEPS, safe_sqrt
from tfg_jax.declare import child, count, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next
from tfg_jax.result import Cost
from tfg_jax.samplers.base import SingleEvaluation, Step, fresh_variance, straight
from tfg_jax.timesteps import Grid


@struct.dataclass
class DDIM(SingleEvaluation):
    """DDIM, deterministic to ancestral (Song et al., ICLR 2021, arXiv 2010.02502).

        x_next = alpha_next x0 + sqrt(sigma_next^2 - s^2) eps + s z
        s      = eta sigma_next/sigma sqrt(sigma^2 - ratio^2 sigma_next^2),        ratio = alpha / alpha_next

    Cost a step: 1 forward.
    Reduces to: `DDPM` with the posterior variance at eta = 1; `Euler` on the flow at eta = None or 0.

    @inproceedings{song2021ddim,
      title = {Denoising Diffusion Implicit Models},
      author = {Song, Jiaming and Meng, Chenlin and Ermon, Stefano},
      booktitle = {International Conference on Learning Representations},
      year = {2021},
      eprint = {2010.02502}, archiveprefix = {arXiv},
    }
    """

    steps: int = count(default=50, high=MAX_STEPS, help="number of steps")
    eta: ArrayLike | None = number(
        default=1.0, low=0.0, high=1.0, help="stochasticity; None draws no noise, 1 is ancestral"
    )
    grid: Grid | None = child(default=None, help="where the steps are placed; None is Uniform")

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        if self.eta is None:
            return Next(straight(edited, step.next), step.memory, Cost())
        now, next = step.now, step.next
        fresh, last = safe_sqrt(fresh_variance(now, next)), next.sigma == 0
        std = self.eta * next.sigma / now.sigma * fresh
        # sigma_next^2 - s^2 with sigma_next taken out of the root, whose gradients are then finite at sigma_next = 0.
        share = jnp.where(last, self.eta / now.sigma * fresh, std / jnp.where(last, 1.0, next.sigma)) ** 2
        along = next.sigma * safe_sqrt(jnp.maximum(1.0 - share, 0.0))
        return Next(next.alpha * edited.x0 + along * edited.eps + std * step.noise.step, step.memory, Cost())
