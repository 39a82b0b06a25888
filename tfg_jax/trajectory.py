"""The one loop: steps x recurrences of one sample, with status, cost and recording.

Everything that happens to a sample happens here; methods and rules only propose. A sample that goes non-finite or
diverges keeps its last state before and a status, and its loop runs on without touching other samples.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import hoist, loops
from tfg_jax.checks import is_batched
from tfg_jax.guidance.base import Guidance, Next, StepContext, Unguided, pulls_back, step_cost
from tfg_jax.kinds import check_leaves
from tfg_jax.lookahead import Conditioned, ForwardOnly
from tfg_jax.networks import NoGradient
from tfg_jax.noise import NoiseSource, NoiseTape, StepNoise
from tfg_jax.problem import Plan, Problem
from tfg_jax.result import OK, UNGUIDED, Cost, Status, status_code
from tfg_jax.samplers.base import Step, renoise
from tfg_jax.schedules import Level


class _Carry(NamedTuple):
    x: Array
    memory: PyTree
    state: PyTree
    remembered: PyTree
    status: Status
    cost: Cost
    kept: dict[str, Array]


class _At(NamedTuple):
    """Where a step is: its number, its levels, what the method prepared for it, the slot its state is kept in."""

    index: Array
    now: Level
    next: Level
    per_step: PyTree
    slot: Array


class _Moved(NamedTuple):
    """What recurrences of a step come to: the proposal, all else that is carried on, and what is noted."""

    proposal: Next
    state: PyTree
    cost: Cost
    x0: Array
    note: PyTree
    remembered: PyTree


class _Sum(NamedTuple):
    """What adds up over the recurrences of a step."""

    state: PyTree
    cost: Cost
    acted: Array | None


class Trajectory(NamedTuple):
    """How one sample ended, and what was kept of its way."""

    x: Array
    status: Status
    cost: Cost
    info: dict[str, PyTree]


def follow(
    problem: Problem, plan: Plan, levels: Level, x: Float[Array, "*shape"], noise: NoiseSource | NoiseTape
) -> Trajectory:
    """The whole run of one sample.

    Args:
        problem: that of this sample.
        plan: without None for guidance, sampler or lookahead.
        levels: of the grid's steps + 1 times, noisy to clean.
        x: the state at the first of them.
        noise: this sample's.
    """
    steps = levels.t.shape[0] - 1
    per_step, state = _prepared(plan.method, levels)
    slots = () if plan.record is None else tuple(plan.record.steps)
    kept = {} if not slots else {name: jnp.zeros((len(slots), *x.shape), x.dtype) for name in ("x", "x0")}
    slot = jnp.asarray([slots.index(i) if i in slots else len(slots) for i in range(steps)], jnp.int32)
    at = _At(
        index=jnp.arange(steps, dtype=jnp.int32), now=jax.tree.map(lambda a: a[:-1], levels),
        next=jax.tree.map(lambda a: a[1:], levels), per_step=per_step, slot=slot,
    )  # fmt: skip
    carry = _Carry(
        x=x, memory=plan.sampler.init(x), state=state, remembered=problem.model.begin(x),
        status=Status.begun(OK if isinstance(plan.guidance, Unguided) else UNGUIDED),  # until guidance has acted
        cost=Cost().as_arrays(), kept=kept,
    )  # fmt: skip

    def body(carry: _Carry, at: _At, own: tuple) -> tuple[_Carry, PyTree]:
        cond, target, noise = own
        moved = _step(problem.replace(cond=cond, target=target), plan, carry, at, noise)  # type: ignore[attr-defined]
        proposal = moved.proposal
        status = carry.status.after(status_code(proposal.x, at.next.scale), at.index, proposal.guided)
        x = jnp.where(status.ok, proposal.x, carry.x)
        values = {"x": x, "x0": moved.x0}
        carry = _Carry(
            x=x, memory=proposal.memory, state=moved.state, remembered=moved.remembered, status=status,
            cost=carry.cost + moved.cost,
            kept={name: carry.kept[name].at[at.slot].set(values[name], mode="drop") for name in carry.kept},
        )  # fmt: skip
        return carry, moved.note

    carry, notes = hoist.scan(body, carry, at, (problem.cond, problem.target, noise))
    noted = plan.record is not None and plan.record.summary is not None
    return Trajectory(carry.x, carry.status, carry.cost, {**carry.kept, **({"summary": notes} if noted else {})})


def _step(problem: Problem, plan: Plan, carry: _Carry, at: _At, noise: NoiseSource | NoiseTape) -> _Moved:
    """All recurrences of one step; guidance outside the window is skipped, not computed and discarded.

    Under a vmap over a bound of the window it is computed and discarded after all, and the cost says so.

    A model's memory is the same for every evaluation of the step and moves with the last recurrence's first one.
    """
    model, sampler, summary = problem.model.at(carry.remembered), plan.sampler, plan.record and plan.record.summary
    now, next, unguided = at.now, at.next, isinstance(plan.guidance, Unguided)

    def calls(t: Array | None) -> int | Array:
        return model.calls(t, problem.cond is not None)

    denoise = Conditioned(model, problem.cond)

    def drawn(r: ArrayLike, x: Array) -> StepNoise:
        return noise.at(at.index, r, x.shape, x.dtype).through(denoise.project)

    def recurrence(x: Array, state: PyTree, r: ArrayLike, guided: bool) -> _Moved:
        own = drawn(r, x)
        raised, start = sampler.perturb(x, now, problem.model.schedule, own)
        x = raised.astype(x.dtype)
        method = plan.guidance if guided else Unguided()
        lookahead = plan.lookahead if pulls_back(method) else ForwardOnly(plan.lookahead)
        lookahead = ForwardOnly() if isinstance(method, Unguided) else lookahead
        ctx = StepContext(
            x=x, now=_like(start, x), next=_like(next, x), index=at.index, cond=problem.cond, noise=own,
            denoise=denoise, lookahead=lookahead, clip=plan.clip, objective=problem.objective, target=problem.target,
            paired=model.paired, rule=lambda ctx, edited: sampler.advance(
                Step(
                    x=ctx.x, now=ctx.now, next=ctx.next, denoised=ctx.denoised, memory=carry.memory, noise=ctx.noise,
                    denoise=denoise,
                ), edited
            ),
        )  # fmt: skip
        proposal, new_state = _stepped(method, ctx, at.per_step, state)
        acted = None
        if not unguided:
            acted = jnp.asarray(guided if proposal.guided is None else proposal.guided)
            acted = loops.as_varying(acted, loops.varying_over(proposal.x))
        # A lookahead of several evaluations makes them at levels of its own: an upper bound where calls depend on it.
        first = calls(start.t if lookahead.cost.forwards == 1 else None)
        cost = step_cost(method, lookahead).networks(first) + proposal.cost.networks(calls(next.t))
        return _Moved(
            # Whatever acts entry by entry, as clips and optimizers do, leaves the samples' subspace.
            proposal=Next(denoise.project(proposal.x.astype(x.dtype)), proposal.memory, Cost(), acted),
            state=new_state, cost=cost.as_arrays(), x0=ctx.denoised.x0, note=summary(ctx) if summary else None,
            remembered=_moved_memory(ctx, carry),
        )  # fmt: skip

    def all_recurrences(guided: bool) -> _Moved:
        n_recur = plan.method.n_recur
        if n_recur == 1:
            return recurrence(carry.x, carry.state, 0, guided)

        def again(loop: tuple, r: Array) -> tuple[tuple, _Moved]:
            x, before = loop
            moved = recurrence(x, before.state, r, guided)
            x_next = moved.proposal.x
            back = renoise(x_next, _like(now, x), _like(next, x), drawn(r, x).renoise)
            acted = None if unguided else before.acted | moved.proposal.guided
            return (back.astype(x.dtype), _Sum(moved.state, before.cost + moved.cost, acted)), moved._replace(
                state=None, cost=None
            )

        first = _Sum(carry.state, Cost().as_arrays(), None if unguided else jnp.asarray(False))
        (_, total), moved = loops.scan(again, (carry.x, first), jnp.arange(n_recur, dtype=jnp.int32))
        last: _Moved = jax.tree.map(lambda a: a[-1], moved)
        proposal = last.proposal.replace(guided=total.acted)  # type: ignore[attr-defined]
        return last._replace(proposal=proposal, state=total.state, cost=total.cost)

    if plan.window is None:
        return all_recurrences(True)
    low, high = plan.window
    inside = (now.log_snr >= low) & (now.log_snr <= high)
    moved = jax.lax.cond(inside, lambda: all_recurrences(True), lambda: all_recurrences(False))
    both = step_cost(plan.method, plan.lookahead) + step_cost(Unguided(), ForwardOnly()) + sampler.extra_cost * 2
    both = both.networks(calls(None)) * plan.method.n_recur
    selected = is_batched(inside)
    return moved._replace(cost=jax.tree.map(lambda a, b: jnp.where(selected, a, b), both, moved.cost))


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
    name = type(method).__name__
    try:
        alone = len(inspect.signature(method.step).parameters) == 1  # of a method without state
        result = (method.step(ctx), state) if alone else method.step(ctx, per_step, state)
    except NoGradient as error:
        raise ValueError(
            f"guidance={name} needs the network's gradient, but {error}; use guidance that needs none, such as MPGD or "
            "TFG(rho=None)"
        ) from error
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Next):
        given = result[0] if isinstance(result, tuple) and len(result) == 2 else result
        raise ValueError(
            f"guidance={name}.step must return (proposal, state), or the proposal alone where it takes ctx alone, "
            f"e.g. ctx.advance(ctx.denoised); got a {type(given).__name__}"
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
        raise ValueError("lookahead loses the model's memory; hand Denoised.memory on from its first evaluation")
    return memory


def _like(level: Level, x: Array) -> Level:
    """The level in the sample's precision, so that a float32 sample stays float32."""
    return Level(level.t, level.alpha.astype(x.dtype), level.sigma.astype(x.dtype))
