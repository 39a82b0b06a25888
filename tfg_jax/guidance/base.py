"""What a guidance method is, and what it sees of a step.

A method is a frozen pytree, declared on top of `Method`:

    needs                                     calls of one step, and what objective and model must offer
    step(ctx) -> Next                         the step, of a method without state

and where they are not the inherited ones

    n_recur                                   recurrences of each step; 1
    prepare(levels) -> (per_step, state)      per-step arrays (leading axis steps) and the state it carries; nothing
    step(ctx, per_step, state) -> (Next, state)

A class of your own with the members of `Guidance` needs no base. Strengths act in variance-preserving coordinates
``x / sqrt(alpha^2 + sigma^2)``, so that one setting means the same on every schedule; `StepContext.vp_shift` converts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.declare import Declared, Needs, count
from tfg_jax.denoiser import Denoised
from tfg_jax.domains.base import unpacked
from tfg_jax.lookahead import Clip, Conditioned, Evaluation, Lookahead
from tfg_jax.noise import StepNoise
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class Next:
    """The sampler's proposal for the next level: the sample, the rule's memory, calls made beyond the first evaluation.

    ``guided`` says whether guidance changed it, None where that is not known.
    """

    x: Array
    memory: PyTree
    cost: Cost
    guided: Array | bool | None = None

    def shifted(self, shift: ArrayLike) -> Next:
        """The same proposal with the sample moved by ``shift``."""
        guided = _acts(shift) if self.guided is None else _acts(shift) | self.guided
        return self.replace(x=self.x + shift, guided=guided)  # type: ignore[attr-defined]


def _acts(edit: PyTree) -> Array:
    """Whether an entry of an edit is not exactly zero."""
    return jnp.any(jnp.stack([jnp.any(jnp.asarray(leaf) != 0) for leaf in jax.tree.leaves(edit)]))


class StepContext:
    """One step of one sample, as a guidance method sees it.

    Attributes:
        x: the current sample, at ``now``.
        now, next: the levels the step goes between (next is cleaner).
        index: the step, counted from 0.
        cond: the condition given to the network.
        noise: this step's draws.
    """

    def __init__(
        self,
        *,
        x: Array,
        now: Level,
        next: Level,
        index: Array,
        cond: PyTree,
        noise: StepNoise,
        denoise: Conditioned,
        lookahead: Lookahead,
        clip: Clip | None,
        objective: Callable[..., Array] | None,
        target: PyTree,
        rule: Callable[[StepContext, Denoised], Next],
        paired: bool = True,
    ):
        self.x, self.now, self.next, self.index, self.cond, self.noise = x, now, next, index, cond, noise
        self.denoise = denoise
        self._lookahead, self._clip = lookahead, clip
        self._objective, self._target, self._rule = objective, target, rule
        self._paired = paired
        self._valued: tuple[Any, Any, Any] = (None, None, None)

    def at(self, x: Array, lookahead: Lookahead | None = None) -> StepContext:
        """This step seen from another sample at the same level, through another lookahead if one is given."""
        return StepContext(
            x=x, now=self.now, next=self.next, index=self.index, cond=self.cond, noise=self.noise,
            denoise=self.denoise, lookahead=lookahead or self._lookahead, clip=self._clip, objective=self._objective,
            target=self._target, rule=self._rule, paired=self._paired,
        )  # fmt: skip

    @cached_property
    def _evaluation(self) -> Evaluation:
        return self._lookahead(self.denoise, self.x, self.now)

    @property
    def raw(self) -> Denoised:
        """The denoiser's own output at (x, now), before any clip."""
        return self._evaluation.denoised

    @cached_property
    def denoised(self) -> Denoised:
        """What an unguided step advances with: `raw`, or with a clip the clipped x0 and the eps recomputed from it."""
        if self._clip is None:
            return self.raw
        clipped = self._clip.denoised(self.raw, self.x, self.now)
        # An eps that is not the noise of x0 (CFG++) was meant for re-noising and stays.
        return clipped if self._paired else self.raw.replace(x0=clipped.x0)  # type: ignore[attr-defined]

    def clipped(self, edited: Denoised) -> Denoised:
        """An edited estimate, clipped as the run clips: x0 to the range and eps recomputed; itself without a clip."""
        return edited if self._clip is None else self._clip.denoised(edited, self.x, self.now)

    @cached_property
    def _seen(self) -> tuple[Array, Callable[[Array], Array]]:
        seen = self._evaluation
        return (seen.x0, seen.pullback) if self._clip is None else self._clip.evaluation(seen)

    def lookahead(self) -> tuple[Array, Callable[[Array], Array]]:
        """The denoised estimate for the objective and its pullback to x; shares the denoiser call of `denoised`."""
        return self._seen

    def objective(self, x0: Array) -> Array:
        """The log-weight of a clean sample; higher is better."""
        seen, value, _ = self._valued
        return value if x0 is seen else self._objective(x0, self._target)  # type: ignore[misc]

    def residual_norm(self, x0: Array) -> Array:
        """Norm of the measurement residual, for objectives of inverse problems."""
        seen, _, norm = self._valued
        return norm if x0 is seen else self._objective.with_residual(x0, self._target)[1]  # type: ignore[union-attr]

    def gradient(self, x0: Array) -> Array:
        """Gradient of the log-weight at `lookahead`'s estimate. Call it outside of loops and transformations: whoever
        asks for the `objective` or `residual_norm` there afterwards, as recording does, is given what came with it,
        since compilers do not see that it is the same network's call."""
        both = getattr(self._objective, "with_residual", None) or (lambda *at: (self._objective(*at), None))  # type: ignore
        (value, norm), gradient = jax.value_and_grad(both, has_aux=True)(x0, self._target)
        self._valued = (x0, value, norm)
        return gradient

    def noisy_objective(self, x: Array) -> Array:
        """The log-weight of the noisy sample ``x`` at the current level, for time-dependent predictors."""
        return self._objective(x, self._target, self.now)  # type: ignore[misc]

    def measurement_gradient(self, x0: Array, variance: ArrayLike) -> Array:
        """Gradient in x0 of ``log p(y)`` for a clean sample N(x0, variance I), for objectives that are Gaussian."""
        return self._objective.measurement_gradient(x0, self._target, variance)  # type: ignore[union-attr]

    def as_sample(self, x: Array) -> PyTree:
        """An array like ``x`` as the sample that its user sees: itself, or a pytree of arrays, see `Domain`."""
        return unpacked(self.denoise.denoiser, x)

    def vp_shift(self, gradient: Array) -> Array:
        """A gradient in x at this level as a displacement at the next level, both taken in VP coordinates."""
        return self.now.scale * self.next.scale * gradient

    def advance(self, denoised: Denoised, edit: PyTree = None) -> Next:
        """The sampler rule applied to an estimate, `denoised` itself or an edited one.

        ``edit``, arrays of which one is not zero where guidance changed the estimate, tells the sample's status.
        """
        known = None if denoised is self.denoised else True
        guided = known if edit is None else _acts(edit)
        return self._rule(self, denoised).replace(guided=guided)  # type: ignore[attr-defined]


@runtime_checkable
class Guidance(Protocol):
    """A guidance method; see the module's docstring."""

    @property
    def n_recur(self) -> int:
        """Recurrences of each step, >= 1; static."""
        ...

    def cost(self, evaluation: Cost, /) -> Cost:
        """Calls per step and recurrence."""
        ...

    def prepare(self, levels: Level, /) -> tuple[PyTree, PyTree]:
        """Per-step arrays over the whole grid (``levels`` holds steps + 1 entries) and the initial state."""
        ...

    @property
    def step(self) -> Callable[..., Any]:
        """One guided step of one sample: ``step(ctx) -> Next``, or ``step(ctx, per_step, state) -> (Next, state)``."""
        ...


class Method(Declared):
    """Base of guidance methods: one gradient through the network, no recurrence, no state, nothing per step."""

    table = "guidance"
    n_recur: Any = 1
    needs: Any = Needs(pullbacks=1, gradients=1)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step and recurrence, as `needs` says."""
        return self.needs.cost(self, evaluation)

    def prepare(self, levels: Level) -> tuple[Any, Any]:
        """Nothing per step, no state."""
        return None, None


def needs_of(method: Any) -> Needs:
    """What a method needs; one of the user's own class may say it by ``noisy = True`` and ``needs_signal = True``."""
    if isinstance(needs := getattr(method, "needs", None), Needs):
        return needs
    noisy = getattr(method, "noisy", False)
    return Needs(objective="noisy" if noisy else "clean", signal=getattr(method, "needs_signal", False))


@struct.dataclass
class Unguided(Method):
    """No guidance: ``x_next = rule(x0, eps)``, repeated n_recur times with re-noising in between.

    Cost a step and recurrence: 1 network forward.
    """

    n_recur: int = count(default=1, help="recurrences of each step")
    needs = Needs()

    def step(self, ctx: StepContext) -> Next:
        """The sampler's own step."""
        return ctx.advance(ctx.denoised)


def smoothed(f: Callable[[Array], Array], deltas: Array | None) -> Callable[[Array], Array]:
    """``log mean_j exp f(x0 + delta_j)`` over Monte-Carlo draws (n_mc, *shape); f itself without draws."""
    if deltas is None:
        return f
    return lambda x0: jax.nn.logsumexp(jax.vmap(f)(x0 + deltas)) - jnp.log(deltas.shape[0])


def pulls_back(method: Guidance) -> bool:
    """Whether a method's cost counts a pullback, so that it needs the gradient of the network."""
    return bool(method.cost(Cost(forwards=1, pullbacks=1)).pullbacks)


def step_cost(method: Guidance, lookahead: Lookahead) -> Cost:
    """Calls of one step and recurrence, with the forwards that the lookahead's pullbacks repeat."""
    cost = method.cost(lookahead.cost)
    repeated = getattr(lookahead, "recomputed", 0)
    if not repeated or not lookahead.cost.pullbacks:
        return cost
    return cost + Cost(forwards=repeated * (cost.pullbacks // lookahead.cost.pullbacks))
