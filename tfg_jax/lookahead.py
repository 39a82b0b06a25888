"""Denoised estimates for the gradient: where guidance looks when it asks what the sample will become.

A lookahead evaluates the denoiser at (x, t) once and returns both what the sampler advances with and the estimate the
objective sees, with the pullback from that estimate to x. `Tweedie` is the posterior mean E[x0 | x_t]: one forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_order
from tfg_jax.declare import Declared, choice, number
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.result import Cost
from tfg_jax.schedules import Level, Schedule


class Evaluation(NamedTuple):
    """One evaluation at (x, t).

    ``denoised`` is the denoiser's own output, ``x0`` the estimate for the objective, ``pullback`` maps a cotangent of
    ``x0`` to one of x.
    """

    denoised: Denoised
    x0: Array
    pullback: Callable[[Array], Array]


@struct.dataclass
class Conditioned:
    """A denoiser with its condition, ``(x, t) -> Denoised``; longer lookaheads also need its schedule."""

    denoiser: Model
    cond: PyTree = None

    @property
    def schedule(self) -> Schedule:
        """The schedule of the denoiser."""
        return self.denoiser.schedule

    def __call__(self, x: Array, t: ArrayLike) -> Denoised:
        return self.denoiser(x, t, self.cond)


@runtime_checkable
class Lookahead(Protocol):
    """A differentiable denoised estimate.

    Its ``check()``, if it has one, raises ValueError for arguments that cannot be meant; ``recomputed``, if it has one,
    counts the network forwards that one pullback repeats to save memory.
    """

    @property
    def cost(self) -> Cost:
        """Network forwards of one evaluation and network pullbacks of one pullback."""
        ...

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        """Look from one sample ``x`` at ``level``."""
        ...


class Estimate(Declared):
    """Base of lookaheads: one network forward an evaluation, one network pullback a pullback, none repeated."""

    table = "lookaheads"
    cost: Any = Cost(forwards=1, pullbacks=1)
    recomputed: Any = 0

    def check_run(self) -> None:
        """Raise ValueError for what has no gradient to guide by."""


@struct.dataclass
class Tweedie(Estimate):
    """The posterior mean: greedy guidance.

        x0 = E[x_0 | x_t]

    Cost an evaluation: 1 forward, 1 pullback.
    """

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        def estimate(x: Array) -> tuple[Array, tuple]:
            denoised = denoise(x, level.t)
            return denoised.x0, (denoised.eps, denoised.memory)

        x0, vjp, rest = jax.vjp(estimate, x, has_aux=True)
        return Evaluation(Denoised(x0, *rest), x0, lambda cotangent: vjp(cotangent)[0])


@struct.dataclass
class ForwardOnly(Estimate):
    """The denoiser's output with nothing prepared for a gradient: what unguided steps use. Cost: 1 forward."""

    cost = Cost(forwards=1)

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        denoised = denoise(x, level.t)
        return Evaluation(denoised, denoised.x0, _no_pullback)


def _no_pullback(cotangent: Array) -> Array:
    raise TypeError("an unguided step has no pullback")


@struct.dataclass
class Clip(Declared):
    """Clips denoised estimates to the data's range, low < high."""

    low: ArrayLike = number(default=-1.0, infinite=True, help="lower end, in units of the data")
    high: ArrayLike = number(default=1.0, infinite=True, help="upper end, in units of the data")
    gradient: Literal["inside", "outside"] = choice(
        default="inside",
        help="inside differentiates through the clip, so that saturated entries get none; outside ignores it there",
    )
    _prefix = "clip."

    def check(self) -> None:
        """Raise ValueError unless low < high."""
        check_order("clip.low", self.low, "clip.high", self.high)

    def _bounds(self, x0: Array) -> tuple[Array, Array]:
        """The range in the precision of the estimate, which a bound of another one must not change."""
        return jnp.asarray(self.low, x0.dtype), jnp.asarray(self.high, x0.dtype)

    def denoised(self, denoised: Denoised, x: Array, level: Level) -> Denoised:
        """The clipped estimate with the noise recomputed from it, so that ``x = alpha x0 + sigma eps`` still holds."""
        x0 = jnp.clip(denoised.x0, *self._bounds(denoised.x0))
        return Denoised(x0, ((x - level.alpha * x0) / level.sigma).astype(x.dtype))

    def evaluation(self, evaluation: Evaluation) -> tuple[Float[Array, "*shape"], Callable[[Array], Array]]:
        """The clipped estimate for the objective and its pullback."""
        low, high = self._bounds(evaluation.x0)
        x0 = jnp.clip(evaluation.x0, low, high)
        if self.gradient == "outside":
            return x0, evaluation.pullback
        # An entry exactly on the bound keeps its gradient, where jnp.clip would halve it.
        inside = (evaluation.x0 >= low) & (evaluation.x0 <= high)
        return x0, lambda cotangent: evaluation.pullback(jnp.where(inside, cotangent, 0.0))
