"""Denoised estimates for the gradient: where guidance looks when it asks what the sample will become.

A lookahead evaluates the denoiser at (x, t) once and returns both what the sampler advances with and the estimate the
objective sees, with the pullback from that estimate to x. `Tweedie` is the posterior mean E[x0 | x_t]: one forward.
"""

from __future__ import annotations

import math
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
from tfg_jax.domains.base import domain_of
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
    """A denoiser with its condition, ``(x, t) -> Denoised``, in the subspace where samples of the condition live.

    Attributes:
        denoiser: the model.
        cond: the condition of one sample.
    """

    denoiser: Model
    cond: PyTree = None

    @property
    def schedule(self) -> Schedule:
        """The schedule of the denoiser."""
        return self.denoiser.schedule

    def project(self, x: Array) -> Array:
        """The nearest array of the samples' subspace, with any leading axes; ``x`` itself where there is none."""
        domain = domain_of(self.denoiser)
        return x if domain is None else domain.projected(x, self.cond)

    @property
    def dimension(self) -> Any:
        """Dimension of the subspace where samples live."""
        domain = domain_of(self.denoiser)
        return math.prod(self.denoiser.shape) if domain is None else domain.dimension(self.cond)

    def __call__(self, x: Array, t: ArrayLike) -> Denoised:
        domain = domain_of(self.denoiser)
        if domain is None or not domain.projects:
            return self.denoiser(x, t, self.cond)
        denoised = self.denoiser(self.project(x), t, self.cond)
        return denoised.replace(x0=self.project(denoised.x0), eps=self.project(denoised.eps))  # type: ignore


@runtime_checkable
class Lookahead(Protocol):
    """A differentiable denoised estimate.

    Its ``estimate(denoise, x, level) -> (x0, denoised)``, if it has one, is used where no gradient is asked for;
    ``check()``, if it has one, raises ValueError for arguments that cannot be meant; ``recomputed``, if it has one,
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

    def estimate(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> tuple[Array, Any]:
        """The denoised estimate, and the denoiser's own output."""
        denoised = denoise(x, level.t)
        return denoised.x0, denoised

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        def estimate(x: Array) -> tuple[Array, Any]:
            x0, denoised = self.estimate(denoise, x, level)
            return x0, denoised.replace(x0=None)

        x0, vjp, rest = jax.vjp(estimate, x, has_aux=True)
        return Evaluation(rest.replace(x0=x0), x0, lambda cotangent: vjp(cotangent)[0])


@struct.dataclass
class ForwardOnly(Estimate):
    """A lookahead with nothing prepared for a gradient, so that the network is not differentiated: for unguided steps
    and methods without a network gradient.

    Attributes:
        lookahead: the estimate; by default the denoiser's own output.
    """

    lookahead: Any = Tweedie()

    @property
    def cost(self) -> Cost:
        """The network forwards of an evaluation."""
        return Cost(forwards=self.lookahead.cost.forwards)

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        if not hasattr(self.lookahead, "estimate"):
            return self.lookahead(denoise, x, level)
        x0, denoised = self.lookahead.estimate(denoise, x, level)
        return Evaluation(denoised, x0, _no_pullback)


def _no_pullback(cotangent: Array) -> Array:
    raise ValueError("guidance pulls back through the network, but its cost counts no pullbacks; count them in cost()")


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
        return Denoised(x0, ((x - level.alpha * x0) / level.sigma).astype(x.dtype), v=denoised.v)

    def evaluation(self, evaluation: Evaluation) -> tuple[Float[Array, "*shape"], Callable[[Array], Array]]:
        """The clipped estimate for the objective and its pullback."""
        low, high = self._bounds(evaluation.x0)
        x0 = jnp.clip(evaluation.x0, low, high)
        if self.gradient == "outside":
            return x0, evaluation.pullback
        # An entry exactly on the bound keeps its gradient, where jnp.clip would halve it.
        inside = (evaluation.x0 >= low) & (evaluation.x0 <= high)
        return x0, lambda cotangent: evaluation.pullback(jnp.where(inside, cotangent, 0.0))
