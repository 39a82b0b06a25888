"""What a sampler rule is, and the single-step rules: DDIM and DDPM.

A rule is a frozen pytree with static ``steps``, a time ``grid`` (None is `Uniform`), and

    init(x)                          its memory at the start
    perturb(x, now, ...)             an optional raise of the noise level before the step (EDM churn)
    advance(step, edited) -> Next    one step from the (possibly guided) estimate ``edited``

The unguided estimate is ``step.plain``. Rules that remember or evaluate twice do so from it; guidance reaches them as
the first-order displacement of `guided_shift`, which is exactly 0 when nothing was edited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_number, check_steps, safe_sqrt
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next
from tfg_jax.noise import StepNoise
from tfg_jax.result import Cost
from tfg_jax.schedules import Level, Schedule
from tfg_jax.timesteps import Grid


class Step(NamedTuple):
    """One step of one sample as a rule sees it."""

    x: Array
    now: Level
    next: Level
    plain: Denoised
    memory: PyTree
    noise: StepNoise
    denoise: Callable[[Array, ArrayLike], Denoised]


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

    def check(self) -> None:
        """Raise ValueError for arguments that cannot be meant."""
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
    if edited is step.plain:
        return jnp.zeros((), step.x.dtype)
    return straight(edited, step.next) - straight(step.plain, step.next)


def fresh_variance(now: Level, next: Level) -> Array:
    """Variance of ``x_now`` given ``x_next``: ``sigma^2 - ratio^2 sigma_next^2``, ratio = alpha / alpha_next."""
    ratio = now.alpha / next.alpha
    return jnp.maximum(now.sigma**2 - ratio**2 * next.sigma**2, 0.0)


def renoise(x_next: Array, now: Level, next: Level, z: Array) -> Array:
    """From the next level back to this one: ``ratio x_next + sqrt(sigma^2 - ratio^2 sigma_next^2) z``."""
    return now.alpha / next.alpha * x_next + safe_sqrt(fresh_variance(now, next)) * z


class SingleEvaluation:
    """What rules share that look once a step, remember nothing and do not raise the noise before it."""

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


@struct.dataclass
class DDIM(SingleEvaluation):
    """DDIM (Song et al., ICLR 2021, arXiv 2010.02502).

        x_next = alpha_next x0 + sqrt(sigma_next^2 - s^2) eps + s z
        s      = eta sigma_next/sigma sqrt(sigma^2 - ratio^2 sigma_next^2),        ratio = alpha / alpha_next

    Cost a step: 1 forward. eta = 1 is `DDPM` with the posterior variance; eta = None (or 0) is Euler on the flow.

    Attributes:
        steps: number of steps, >= 1.
        eta: stochasticity in [0, 1] (traced); None draws no noise.
        grid: where the steps are placed; None is `Uniform`.
    """

    steps: int = struct.field(pytree_node=False, default=50)
    eta: ArrayLike | None = 1.0
    grid: Grid | None = None

    def check(self) -> None:
        """Raise ValueError for bad steps or eta."""
        check_steps(self.steps)
        check_number("eta", self.eta, low=0.0, high=1.0)

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


@struct.dataclass
class DDPM(SingleEvaluation):
    """Ancestral sampling (Ho et al., NeurIPS 2020, arXiv 2006.11239).

        x_next ~ N(mean of q(x_next | x, x0), small^(1 - v) large^v)

    with small = the posterior variance of q and large = the forward variance seen at the next level.
    Cost a step: 1 forward.

    Attributes:
        steps: number of steps, >= 1.
        v: log-interpolation between the two variances, in [0, 1] (traced); 0 is DDIM at eta = 1. A network that learned
            its variance gives v itself, entry by entry (Nichol & Dhariwal, ICML 2021, arXiv 2102.09672).
        grid: where the steps are placed; None is `Uniform`.
    """

    steps: int = struct.field(pytree_node=False, default=50)
    v: ArrayLike = 0.0
    grid: Grid | None = None

    def check(self) -> None:
        """Raise ValueError for bad steps or v."""
        check_steps(self.steps)
        if self.v is None:
            raise ValueError("v=None is no variance; give a number in [0, 1], or use DDIM")
        check_number("v", self.v, low=0.0, high=1.0)

    def advance(self, step: Step, edited: Denoised) -> Next:
        """One step to ``step.next``."""
        now, next = step.now, step.next
        along = now.alpha / next.alpha * next.sigma**2 / now.sigma
        # In VP coordinates "large" is 1 - a/a_next; here at the next level's scale. small/large = share_next/share_now.
        large = fresh_variance(now, next) * (next.scale / now.scale) ** 2
        shrink = next.noise_share / now.noise_share
        # The last step (sigma_next = 0) adds no noise whatever v is.
        last = next.sigma == 0
        v = self.v if step.plain.v is None else 0.5 * (step.plain.v + 1.0)
        variance = large * jnp.where(last, 0.0, jnp.where(last, 1.0, shrink) ** (1.0 - v))
        mean = next.alpha * edited.x0 + along * edited.eps
        return Next(mean + safe_sqrt(variance) * step.noise.step, step.memory, Cost())
