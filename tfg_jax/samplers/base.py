"""What a sampler rule is, and what the rules share.

A rule is a frozen pytree with static ``steps``, a time ``grid`` (None is `Uniform`), and

    init(x)                          its memory at the start
    perturb(x, now, ...)             an optional raise of the noise level before the step (EDM churn)
    advance(step, edited) -> Next    one step from the (possibly guided) estimate ``edited``

The unguided estimate is ``step.denoised``. Rules that remember or evaluate twice do so from it; guidance reaches them
as the first-order displacement of `guided_shift`, which is exactly 0 when nothing was edited. One declared on top of
`SingleEvaluation` writes ``advance`` alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax.checks import safe_sqrt
from tfg_jax.declare import Declared
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next
from tfg_jax.noise import StepNoise
from tfg_jax.result import Cost
from tfg_jax.schedules import Level, Schedule


class Step(NamedTuple):
    """One step of one sample as a rule sees it."""

    x: Array
    now: Level
    next: Level
    denoised: Denoised
    memory: PyTree
    noise: StepNoise
    denoise: Callable[[Array, ArrayLike], Denoised]

    @property
    def plain(self) -> Denoised:
        """Deprecated name of ``denoised``."""
        warnings.warn("Step.plain is called Step.denoised", DeprecationWarning, stacklevel=2)
        return self.denoised


@runtime_checkable
class Sampler(Protocol):
    """A sampler rule; see the module's docstring."""

    @property
    def steps(self) -> int:
        """Number of steps, >= 1; static."""
        ...

    @property
    def grid(self) -> Any:
        """The time grid; None is `Uniform`."""
        ...

    @property
    def extra_cost(self) -> Cost:
        """Upper bound of the calls a step makes beyond the first evaluation."""
        ...

    def init(self, x: Array) -> PyTree:
        """The memory carried from step to step."""
        ...

    def perturb(self, x: Array, now: Level, schedule: Schedule, noise: StepNoise) -> tuple[Array, Level]:
        """The sample and level the step really starts from."""
        ...

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        ...


def straight(denoised: Denoised, next: Level) -> Array:
    """The deterministic first-order step, ``alpha_next x0 + sigma_next eps``: DDIM at eta = 0, Euler on the flow."""
    return next.alpha * denoised.x0 + next.sigma * denoised.eps


def guided_shift(step: Step, edited: Denoised) -> Array:
    """First-order displacement at the next level due to editing the estimate."""
    if edited is step.denoised:
        return jnp.zeros((), step.x.dtype)
    return straight(edited, step.next) - straight(step.denoised, step.next)


def fresh_variance(now: Level, next: Level) -> Array:
    """Variance of ``x_now`` given ``x_next``: ``sigma^2 - ratio^2 sigma_next^2``, ratio = alpha / alpha_next."""
    ratio = now.alpha / next.alpha
    return jnp.maximum(now.sigma**2 - ratio**2 * next.sigma**2, 0.0)


def renoise(x_next: Array, now: Level, next: Level, z: Array) -> Array:
    """From the next level back to this one: ``ratio x_next + sqrt(sigma^2 - ratio^2 sigma_next^2) z``."""
    return now.alpha / next.alpha * x_next + safe_sqrt(fresh_variance(now, next)) * z


class SingleEvaluation(Declared):
    """Base of rules: one evaluation a step, no memory, no raise of the noise before the step."""

    table = "samplers"
    grid: Any = None

    @property
    def extra_cost(self) -> Cost:
        """None beyond the evaluation."""
        return Cost()

    def init(self, x: Array) -> PyTree:
        """No memory."""
        return None

    def perturb(self, x: Array, now: Level, schedule: Schedule, noise: StepNoise) -> tuple[Array, Level]:
        """No churn."""
        return x, now
