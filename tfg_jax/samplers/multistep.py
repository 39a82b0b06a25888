"""DPM-Solver++(2M)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tfg_jax import struct
from tfg_jax.checks import MAX_STEPS
from tfg_jax.declare import child, count
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next
from tfg_jax.result import Cost
from tfg_jax.samplers.base import SingleEvaluation, Step, guided_shift, straight
from tfg_jax.timesteps import Grid


@struct.dataclass
class Memory:
    """The unguided estimate at the previous node and the log-SNR step ``h`` taken from it; h is inf at the start."""

    x0: Float[Array, "*shape"]
    h: Float[Array, ""]


@struct.dataclass
class DPMSolverPP2M(SingleEvaluation):
    """DPM-Solver++(2M), second order from the estimate of the previous node (Lu et al., arXiv 2211.01095).

        x_next = sigma_next / sigma x - alpha_next (exp(-h) - 1) D
        D      = x0 + h / (2 h_prev) (x0 - x0_prev)

    with lambda = log(alpha / sigma), h = lambda_next - lambda. First order on the first step, and on the last one or
    from alpha = 0, where h is infinite. Guidance is added after the rule.
    Cost a step: 1 forward.

    @misc{lu2022dpmsolverpp,
      title = {{DPM-Solver++}: Fast Solver for Guided Sampling of Diffusion Probabilistic Models},
      author = {Lu, Cheng and Zhou, Yuhao and Bao, Fan and Chen, Jianfei and Li, Chongxuan and Zhu, Jun},
      year = {2022},
      eprint = {2211.01095}, archiveprefix = {arXiv},
    }
    """

    steps: int = count(default=20, high=MAX_STEPS, help="number of steps")
    grid: Grid | None = child(default=None, help="where the steps are placed; None is Uniform")

    def init(self, x: Array) -> Memory:
        """Nothing behind the first node."""
        return Memory(jnp.zeros_like(x), jnp.asarray(jnp.inf, x.dtype))

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        now, next, x0 = step.now, step.next, step.denoised.x0
        # exp(-h) = (alpha / sigma) (sigma_next / alpha_next), exact at sigma_next = 0.
        decay = now.alpha * next.sigma / (now.sigma * next.alpha)
        # From a level without signal, or to one without noise, h is infinite.
        first_order = (next.sigma == 0) | (now.alpha == 0)
        usual = lambda level: jax.tree.map(lambda a: jnp.where(first_order, 1.0, a), level).log_snr  # noqa: E731
        h = jnp.where(first_order, jnp.inf, 0.5 * (usual(next) - usual(now)))
        weight = jnp.where(first_order, 0.0, jnp.where(first_order, 0.0, h) / (2.0 * step.memory.h))
        second_order = next.alpha * (1.0 - decay) * weight * (x0 - step.memory.x0)
        x = straight(step.denoised, next) + second_order.astype(x0.dtype)
        return Next(x + guided_shift(step, edited), Memory(x0, h.astype(step.memory.h.dtype)), Cost())
