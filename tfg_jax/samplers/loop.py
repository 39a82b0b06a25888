"""The one loop: steps x recurrences of one sample, with status, cost and recording.

Everything that happens to a sample happens here; methods and rules only propose. A sample that goes non-finite or
diverges keeps its last state before and a status, and its loop runs on without touching other samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import hoist, loops, struct
from tfg_jax.checks import is_batched, show
from tfg_jax.denoiser import Model
from tfg_jax.guidance.base import Guidance, Next, StepContext, Unguided, step_cost, stepped
from tfg_jax.kinds import check_leaves
from tfg_jax.lookahead import Clip, Conditioned, ForwardOnly, Lookahead
from tfg_jax.noise import NoiseSource, NoiseTape
from tfg_jax.result import OK, UNGUIDED, Cost, Status, judged
from tfg_jax.samplers.base import Sampler, Step, renoise
from tfg_jax.schedules import Level


@struct.dataclass
class Record:
    """What to keep of the way, in ``Samples.info``; nothing else of the path is stored.

    Attributes:
        steps: step numbers (from 0) after which the state is kept: ``info["x"]`` and ``info["x0"]``, (n, K, *shape).
        summary: ``ctx -> small pytree`` called once a step with the `StepContext`;
            ``info["summary"]``, (n, steps, ...).
    """

    steps: tuple[int, ...] = struct.field(pytree_node=False, default=())
    summary: Callable[[StepContext], PyTree] | None = struct.field(pytree_node=False, default=None)

    def check(self, steps: int) -> None:
        """Raise ValueError unless the steps are distinct ones of a run of so many."""
        if not isinstance(self.steps, tuple):
            raise ValueError(f"record.steps={show(self.steps)} must be a tuple of step numbers, such as (0, 5)")
        for step in self.steps:
            if isinstance(step, bool) or not isinstance(step, int | np.integer) or not 0 <= step < steps:
                raise ValueError(f"record.steps holds {step!r}, outside 0..{steps - 1}; name steps of this run")
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"record.steps={self.steps} names a step twice; name each once")
        if not (self.summary is None or callable(self.summary)):
            raise ValueError(f"record.summary={self.summary!r:.60} is no function of a step's context; pass one")


class Plan(NamedTuple):
    """What all samples of a run share."""

    denoiser: Model
    guidance: Guidance
    sampler: Sampler
    lookahead: Lookahead
    clip: Clip | None
    objective: Any
    levels: Level
    window: tuple[ArrayLike, ArrayLike] | None
    record: Record | None


class _Carry(NamedTuple):
    x: Array
    memory: PyTree
    state: PyTree
    remembered: PyTree
    status: Status
    cost: Cost
    kept: dict[str, Array]


def sample_one(
    plan: Plan, x: Float[Array, "*shape"], cond: PyTree, target: PyTree, noise: NoiseSource | NoiseTape
) -> tuple[Float[Array, "*shape"], Status, Cost, dict[str, PyTree]]:
    """Run the loop on one sample from its state ``x`` at the grid's first level."""
    steps = plan.levels.t.shape[0] - 1
    per_step, state = _prepared(plan.guidance, plan.levels)
    now, next = jax.tree.map(lambda a: a[:-1], plan.levels), jax.tree.map(lambda a: a[1:], plan.levels)
    slots = _slots(plan.record)
    kept = {} if not slots else {name: jnp.zeros((len(slots), *x.shape), x.dtype) for name in ("x", "x0")}
    begun = OK if isinstance(plan.guidance, Unguided) else UNGUIDED  # until guidance has acted
    status = Status(jnp.asarray(begun, jnp.int32), jnp.asarray(-1, jnp.int32))
    carry = _Carry(x, plan.sampler.init(x), state, plan.denoiser.begin(x), status, Cost().as_arrays(), kept)
    slot_of = jnp.asarray([slots.index(i) if i in slots else len(slots) for i in range(steps)], jnp.int32)

    def body(carry: _Carry, at: tuple, own: tuple) -> tuple[_Carry, PyTree]:
        (index, now, next, per_step, slot), (cond, target, noise) = at, own
        moved, state, cost, x0, note, remembered = _step(plan, carry, index, now, next, per_step, cond, target, noise)
        status = carry.status.after(judged(moved.x, next.scale), index, moved.guided)
        x = jnp.where(status.ok, moved.x, carry.x)
        kept = {
            name: carry.kept[name].at[slot].set(value, mode="drop")
            for name, value in zip(kept_names, (x, x0), strict=False)
        }
        return _Carry(x, moved.memory, state, remembered, status, carry.cost + cost, kept), note

    kept_names = tuple(kept)
    at, own = (jnp.arange(steps, dtype=jnp.int32), now, next, per_step, slot_of), (cond, target, noise)
    carry, notes = loops.scan(body, carry, at, own, scan=hoist.scan)
    info: dict[str, PyTree] = dict(carry.kept)
    if plan.record is not None and plan.record.summary is not None:
        info["summary"] = notes
    return carry.x, carry.status, carry.cost, info


def _step(
    plan: Plan,
    carry: _Carry,
    index: Array,
    now: Level,
    next: Level,
    per_step: PyTree,
    cond: PyTree,
    target: PyTree,
    noise: Any,
) -> tuple[Next, PyTree, Cost, Array, PyTree, PyTree]:
    """All recurrences of one step; guidance outside the window is skipped, not computed and discarded.

    Under a vmap over a bound of the window it is computed and discarded after all, and the cost says so.

    A model's memory is the same for every evaluation of the step and moves with the last recurrence's first one.
    """
    model = plan.denoiser.at(carry.remembered)
    unguided = isinstance(plan.guidance, Unguided)

    def calls(t: Array | None) -> int | Array:
        return model.calls(t, cond is not None)

    def recurrence(x: Array, state: PyTree, r: ArrayLike, guided: bool) -> tuple:
        draws = noise.at(index, r, x.shape, x.dtype)
        raised, start = plan.sampler.perturb(x, now, plan.denoiser.schedule, draws)
        x = raised.astype(x.dtype)
        denoise = Conditioned(model, cond)
        method = plan.guidance if guided else Unguided()
        evaluation = ForwardOnly() if isinstance(method, Unguided) else plan.lookahead
        ctx = StepContext(
            x=x, now=_like(start, x), next=_like(next, x), index=index, cond=cond, noise=draws, denoise=denoise,
            lookahead=evaluation, clip=plan.clip, objective=plan.objective, target=target, paired=model.paired,
            rule=lambda ctx, edited: plan.sampler.advance(
                Step(ctx.x, ctx.now, ctx.next, ctx.denoised, carry.memory, ctx.noise, denoise), edited
            ),
        )  # fmt: skip
        moved, new_state = _stepped(method, ctx, per_step, state)
        acted = None
        if not unguided:
            acted = jnp.asarray(guided if moved.guided is None else moved.guided)
            acted = loops.as_varying(acted, loops.varying_over(moved.x))
        moved = moved.replace(x=moved.x.astype(x.dtype), guided=acted)  # type: ignore[attr-defined]
        note = plan.record.summary(ctx) if plan.record is not None and plan.record.summary is not None else None
        # A lookahead of several evaluations makes them at levels of its own: an upper bound where calls depend on it.
        first = calls(start.t if evaluation.cost.forwards == 1 else None)
        cost = step_cost(method, evaluation).networks(first) + moved.cost.networks(calls(next.t))
        return moved, new_state, cost.as_arrays(), ctx.denoised.x0, note, _moved_memory(ctx, carry)

    def all_recurrences(guided: bool) -> tuple:
        n_recur = plan.guidance.n_recur
        if n_recur == 1:
            return _without_cost(recurrence(carry.x, carry.state, 0, guided))

        def again(loop: tuple, r: Array) -> tuple:
            x, state, total, acted = loop
            moved, state, cost, x0, note, remembered = recurrence(x, state, r, guided)
            acted = None if unguided else acted | moved.guided
            back = renoise(moved.x, _like(now, x), _like(next, x), noise.at(index, r, x.shape, x.dtype).renoise)
            return (back.astype(x.dtype), state, total + cost, acted), _without_cost((moved, x0, note, remembered))

        none = None if unguided else jnp.asarray(False)
        (_, state, total, acted), outputs = loops.scan(
            again, (carry.x, carry.state, Cost().as_arrays(), none), jnp.arange(n_recur, dtype=jnp.int32)
        )
        moved, x0, note, remembered = jax.tree.map(lambda a: a[-1], outputs)
        return moved.replace(guided=acted), state, total, x0, note, remembered

    if plan.window is None:
        return all_recurrences(True)
    low, high = plan.window
    inside = (now.log_snr >= low) & (now.log_snr <= high)
    moved, state, cost, *rest = jax.lax.cond(inside, lambda: all_recurrences(True), lambda: all_recurrences(False))
    both = step_cost(plan.guidance, plan.lookahead) + step_cost(Unguided(), ForwardOnly()) + plan.sampler.extra_cost * 2
    both = both.networks(calls(None)) * plan.guidance.n_recur
    selected = is_batched(inside)
    return moved, state, jax.tree.map(lambda a, b: jnp.where(selected, a, b), both, cost), *rest


def _prepared(method: Guidance, levels: Level) -> tuple[PyTree, PyTree]:
    """What a method prepares, its state as the arrays that a loop carries."""
    prepared = method.prepare(levels)
    name, steps = type(method).__name__, levels.t.shape[0] - 1
    if not isinstance(prepared, tuple) or len(prepared) != 2:
        raise ValueError(f"guidance={name}.prepare must return (per_step, state), got a {type(prepared).__name__}")
    check_leaves(**{f"guidance={name}.prepare(...)": prepared})
    for leaf in jax.tree.leaves(prepared[0]):
        if jnp.shape(leaf)[:1] != (steps,):
            raise ValueError(
                f"guidance={name}.prepare gives a per-step array of shape {jnp.shape(leaf)}; its first axis must be "
                f"the {steps} steps"
            )
    return prepared[0], jax.tree.map(jnp.asarray, prepared[1])


def _stepped(method: Guidance, ctx: StepContext, per_step: PyTree, state: PyTree) -> tuple[Next, PyTree]:
    """A method's step, which must give the proposal and a state like the one it was given."""
    result = stepped(method, ctx, per_step, state)
    name = type(method).__name__
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Next):
        raise ValueError(
            f"guidance={name}.step must return (proposal, state), e.g. ctx.advance(ctx.denoised), state; got a "
            f"{type(result).__name__}"
        )
    moved, after = result
    if jnp.shape(moved.x) != ctx.x.shape:
        raise ValueError(f"guidance={name}.step moves a sample of shape {ctx.x.shape} to shape {jnp.shape(moved.x)}")
    if _kind_of(after) != _kind_of(state):
        raise ValueError(
            f"guidance={name}.step returns a state of {_kind_of(after)[1]}, it was given {_kind_of(state)[1]}; "
            "return one of the same shapes and dtypes"[:300]
        )
    return moved, after


def _kind_of(tree: PyTree) -> tuple[Any, list]:
    """Structure, and shape and dtype of every leaf."""
    return jax.tree.structure(tree), [(jnp.shape(leaf), jnp.result_type(leaf).name) for leaf in jax.tree.leaves(tree)]


def _moved_memory(ctx: StepContext, carry: _Carry) -> PyTree:
    memory = ctx.raw.memory
    if jax.tree.structure(memory) != jax.tree.structure(carry.remembered):
        raise ValueError("lookahead loses the model's memory; hand Clean.memory on from its first evaluation")
    return memory


def _without_cost(result: tuple) -> tuple:
    moved, *rest = result
    return (moved.replace(cost=Cost()), *rest)


def _like(level: Level, x: Array) -> Level:
    """The level in the sample's precision, so that a float32 sample stays float32."""
    return Level(level.t, level.alpha.astype(x.dtype), level.sigma.astype(x.dtype))


def _slots(record: Record | None) -> tuple[int, ...]:
    return () if record is None else tuple(record.steps)
