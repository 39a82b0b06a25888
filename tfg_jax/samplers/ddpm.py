"""Ancestral sampling."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import MAX_STEPS, safe_sqrt
from tfg_jax.declare import child, count, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next
from tfg_jax.result import Cost
from tfg_jax.samplers.base import SingleEvaluation, Step, fresh_variance
from tfg_jax.timesteps import Grid


@struct.dataclass
class DDPM(SingleEvaluation):
    """Ancestral sampling (Ho et al., NeurIPS 2020, arXiv 2006.11239).

        x_next ~ N(mean of q(x_next | x, x0), small^(1 - v) large^v)

    with small = the posterior variance of q and large = the forward variance seen at the next level. A network that
    learned its variance gives v itself, entry by entry (Nichol & Dhariwal, ICML 2021, arXiv 2102.09672).
    Cost a step: 1 forward.

    @inproceedings{ho2020ddpm,
      title = {Denoising Diffusion Probabilistic Models},
      author = {Ho, Jonathan and Jain, Ajay and Abbeel, Pieter},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2020},
      eprint = {2006.11239}, archiveprefix = {arXiv},
    }

    Cite: VPCosine
    """

    steps: int = count(default=50, high=MAX_STEPS, help="number of steps")
    v: ArrayLike = number(
        default=0.0, low=0.0, high=1.0, help="log-interpolation between the two variances; 0 is DDIM at eta = 1"
    )
    grid: Grid | None = child(default=None, help="where the steps are placed; None is Uniform")

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        now, next = step.now, step.next
        along = now.alpha / next.alpha * next.sigma**2 / now.sigma
        # In VP coordinates "large" is 1 - a/a_next; here at the next level's scale. small/large = share_next/share_now.
        large = fresh_variance(now, next) * (next.scale / now.scale) ** 2
        shrink = next.noise_share / now.noise_share
        # The last step (sigma_next = 0) adds no noise whatever v is.
        last = next.sigma == 0
        v = self.v if step.denoised.v is None else 0.5 * (step.denoised.v + 1.0)
        variance = large * jnp.where(last, 0.0, jnp.where(last, 1.0, shrink) ** (1.0 - v))
        mean = next.alpha * edited.x0 + along * edited.eps
        return Next(mean + safe_sqrt(variance) * step.noise.step, step.memory, Cost())
