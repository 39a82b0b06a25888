"""Euler and Heun on the probability-flow ODE, with optional churn.

In y = x / alpha, tau = sigma / alpha the flow is ``dy/dtau = eps``; Euler there is DDIM at eta = 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import MAX_STEPS, safe_sqrt
from tfg_jax.declare import Declared, child, count, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next
from tfg_jax.noise import StepNoise
from tfg_jax.ode import HEUN
from tfg_jax.result import Cost
from tfg_jax.samplers.base import SingleEvaluation, Step, guided_shift, straight
from tfg_jax.schedules import Level, Schedule
from tfg_jax.timesteps import Grid


@struct.dataclass
class Churn(Declared):
    """Raises the noise before a step, by a factor ``1 + gamma`` (Karras et al., NeurIPS 2022, arXiv 2206.00364).

        gamma = min(amount / steps, sqrt(2) - 1)

    Cite: Karras
    """

    amount: ArrayLike = number(default=40.0, low=0.0, help="the paper's S_churn")
    low: ArrayLike = number(default=0.05, low=0.0, help="smallest sigma / alpha at which it acts, S_tmin")
    high: ArrayLike = number(default=50.0, low=0.0, help="largest sigma / alpha at which it acts, S_tmax")
    noise_scale: ArrayLike = number(default=1.003, low=0.0, help="standard deviation of the fresh noise, S_noise")
    _prefix = "churn."

    def perturb(self, x: Array, now: Level, schedule: Schedule, noise: StepNoise, steps: int) -> tuple[Array, Level]:
        """The sample and level after the raise."""
        signal = now.alpha > 0  # without any there is no noise to raise
        alpha = jnp.where(signal, now.alpha, 1.0)
        tau = now.sigma / alpha
        gamma = jnp.minimum(self.amount / steps, jnp.sqrt(2.0) - 1.0)
        gamma = jnp.where(signal & (tau >= self.low) & (tau <= self.high), gamma, 0.0)
        raised = schedule.level(
            jnp.minimum(schedule.t_of_log_snr(-2.0 * jnp.log(tau * (1.0 + gamma))), schedule.t_start)
        )
        level = jax.tree.map(lambda a, b: jnp.where(gamma > 0, a, b), raised, now)
        wide = level.sigma / jnp.where(signal, level.alpha, 1.0)
        added = safe_sqrt(jnp.maximum(wide**2 - tau**2, 0.0)) * self.noise_scale
        return jnp.where(signal, level.alpha * (x / alpha + added * noise.churn), x), level


@struct.dataclass
class Euler(SingleEvaluation):
    """First order on the probability-flow ODE; without churn DDIM at eta = 0 (Karras et al., arXiv 2206.00364).

        x_next = alpha_next x0 + sigma_next eps

    Cost a step: 1 forward.

    Cite: Karras
    """

    steps: int = count(default=50, high=MAX_STEPS, help="number of steps")
    grid: Grid | None = child(default=None, help="where the steps are placed; None is Uniform, Karras is the paper's")
    churn: Churn | None = child(default=None, help="None is the ODE, a Churn the paper's stochastic sampler")

    def perturb(self, x: Array, now: Level, schedule: Schedule, noise: StepNoise) -> tuple[Array, Level]:
        """Churn, if any."""
        return (x, now) if self.churn is None else self.churn.perturb(x, now, schedule, noise, self.steps)

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        return Next(straight(edited, step.next), step.memory, Cost())


@struct.dataclass
class Heun(Euler):
    """Second order on the probability-flow ODE, the mean of both ends' velocities (Karras et al., arXiv 2206.00364).

        x_next = alpha_next (x / alpha + (tau_next - tau) (eps + eps_next) / 2),  tau = sigma / alpha

    The last step, to sigma = 0, is Euler's, and so is one from alpha = 0. Guidance acts at the first evaluation.
    Cost a step: 2 forwards, 1 on the last.

    Cite: Karras
    """

    @property
    def extra_cost(self) -> Cost:
        """The second evaluation."""
        return Cost(forwards=1)

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        now, next = step.now, step.next
        predicted = straight(step.denoised, next)

        def corrected() -> Array:
            """A Runge-Kutta step in the frame that moves along with the first evaluation, where nothing large cancels
            at small alpha: in units of the next level, dy / d(next.alpha tau) = eps - first."""
            length = next.alpha * (next.sigma / next.alpha - now.sigma / jnp.where(now.alpha > 0, now.alpha, 1.0))
            relative = lambda y, _: step.denoise(y, next.t).eps - step.denoised.eps  # noqa: E731
            return HEUN.step(predicted, jnp.zeros_like(predicted), relative, length)

        more = (next.sigma > 0) & (now.alpha > 0)
        x = jax.lax.cond(more, corrected, lambda: predicted)
        return Next(x + guided_shift(step, edited), step.memory, Cost(forwards=more.astype(jnp.int32)))
