"""The public entry of end-to-end guidance: optimize, then return the samples the optimum gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, PyTree

from tfg_jax import arguments
from tfg_jax.arguments import called_as, count_of
from tfg_jax.batch import Batching, map_samples
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Model
from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.descend import lbfgs, minimize
from tfg_jax.endtoend.source import DFlow
from tfg_jax.kinds import check_leaves, public
from tfg_jax.loops import as_varying, varying_over
from tfg_jax.networks import NoGradient
from tfg_jax.noise import KeyNoise, root_key, sample_key
from tfg_jax.numbers import number, one_form
from tfg_jax.objectives.base import Objective
from tfg_jax.problem import Problem
from tfg_jax.result import UNGUIDED, Cost, Samples, Status, status_code
from tfg_jax.sample import dtype_of, sampling_times
from tfg_jax.samplers.ode import Euler


@public
def end_to_end(
    key: PRNGKeyArray,
    model: Model,
    method: DFlow | Controls,
    *,
    objective: Objective | Callable[..., Array],
    num_samples: int | None = None,
    target: PyTree = None,
    cond: PyTree = None,
    start: PyTree = None,
    blend: ArrayLike | None = None,
    index_offset: ArrayLike = 0,
    chunk: int | None = None,
    sharding: NamedSharding | None = None,
) -> Samples:
    """Samples whose source or controls are optimized through the whole solve.

    A sample depends on (weights, configuration, key, index) alone. Samples of a chunk are computed until the slowest is
    done; a sample that is done costs no line search. ``cost`` counts a sample's own calls, with both branches of the
    L-BFGS line search, which are both computed, and every network call of a transform such as `CFG`.

    Args:
        key: root key.
        model: the diffusion or flow model, or a transform of one.
        method: `DFlow` or `Controls`.
        objective: log-weight of a clean sample, higher is better.
        num_samples: how many; may be left out if target, cond or start say it.
        target: leaves (n, ...), one target a sample.
        cond: (n,) class of each sample, for conditional models.
        start: states at the grid's first level to begin from, e.g. ``tfg.invert(model, x).x``; None is noise.
        blend: share in [0, 1] of the variance that ``start`` keeps, the rest is fresh noise; None is 1 (traced).
        index_offset: global index of the first sample, >= 0 (traced).
        chunk: samples computed together; None is all at once.
        sharding: as in `tfg_jax.sample`.

    Returns:
        `Samples`: x (n, *shape); status, whose step is the iteration in which the variable or the sample went
        non-finite or diverged (x is then that of the last good variable), and which says UNGUIDED where the loss has no
        gradient; cost; info with the ``objective`` reached, the ``iterations`` made and the ``variable`` found.

    Raises:
        ValueError: arguments of wrong shape or range, or without effect.
    """
    run = _begun(
        key, model, method, objective=objective, num_samples=num_samples, target=target, cond=cond, start=start,
        blend=blend, index_offset=index_offset, chunk=chunk, sharding=sharding,
    )  # fmt: skip
    try:
        return run.problem.result(run.batching.run(_optimized, run.shared, run.data))
    except NoGradient as error:
        raise ValueError(
            f"method={type(method).__name__} needs the network's gradient, but {error}; use tfg.sample with guidance "
            "that needs none, such as MPGD"
        ) from error


class Preview(NamedTuple):
    """What a run will take.

    ``cost`` counts the calls of one sample, at most; ``memory`` is the bytes of arguments, results and temporaries of
    the compiled program, which holds a chunk's solves at once, or None where the device does not tell.
    """

    cost: Cost
    memory: int | None


@public
@called_as(end_to_end)
def preview_end_to_end(key: PRNGKeyArray, model: Model, method: DFlow | Controls, **given: Any) -> Preview:
    """Network calls and memory of `end_to_end` with the same arguments: its program is compiled and not run.

    Raises:
        ValueError: as `end_to_end`.
    """
    run = _begun(key, model, method, **given)
    cost = upper_end_to_end_cost(method, model, conditional=given["cond"] is not None)
    return Preview(cost, memory_of(run.batching.compiled(_optimized, run.shared, run.data)))


def memory_of(compiled: Any) -> int | None:
    """Bytes of arguments, results and temporaries of a compiled program; None where the device does not tell."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes


class _Run(NamedTuple):
    """Arguments that fit each other: what all samples share, and the samples' own data."""

    problem: Problem
    batching: Batching
    shared: tuple
    data: dict[str, Any]


def _begun(
    key: PRNGKeyArray, model: Model, method: Any, *, start: PyTree, blend: ArrayLike | None, **given: Any
) -> _Run:
    problem = Problem.of(model, given["cond"], given["objective"], given["target"])
    count = count_of(given["num_samples"], start, given["cond"], given["target"])
    batching = Batching(count, given["index_offset"], given["chunk"], given["sharding"])
    batching.check()
    problem.check_flow(f"method={type(method).__name__}")
    problem.check(batching.num_samples)
    grid, steps = (method.grid, method.steps) if isinstance(method, Controls) else (None, 1)
    arguments.check_signal(model, None, *arguments.check_grid(grid, model.schedule, steps))
    if start is not None:
        arguments.check_arrays("start", model, start)
        start = arguments.entered("start", model, start, batching.num_samples)
    elif blend is not None:
        raise ValueError("blend has no effect without start; pass start=, e.g. tfg.invert(model, x).x, or drop blend")
    check_number("blend", blend, low=0.0, high=1.0)
    check_leaves(method=method)
    dtype = dtype_of(start)
    shared, data = problem.split(dtype)
    arrays = (root_key(key), shared, one_form(method, dtype), number(blend, dtype))
    return _Run(problem, batching, arrays, {**data, "start": start})


@public
def upper_end_to_end_cost(method: DFlow | Controls, model: Model | None = None, *, conditional: bool = True) -> Cost:
    """Calls per sample of a run before it is made; early stops can only make it cheaper.

    With your own optimizer it holds for one evaluation an iteration, as all optimizers without a line search make.

    Args:
        method: as in `end_to_end`.
        model: a transform such as `CFG`, whose evaluations take several network forwards; None counts one each.
        conditional: whether the run has a ``cond``; read with a model only.
    """
    each = 2 * (method.line_search or 20) if method.searches else 1
    calls = 1 if model is None else model.calls(None, conditional)
    return (method.closure * (1 + method.iterations * each) + method.final).networks(calls)


@jax.jit
def _optimized(
    key: PRNGKeyArray, problem: Problem, method: Any, blend: ArrayLike | None, per_sample: dict[str, Any]
) -> Samples:
    model, start = problem.model, per_sample["start"]
    sampler = Euler(method.steps, method.grid) if isinstance(method, Controls) else Euler(1)
    levels = model.schedule.level(sampling_times(model, sampler))
    if method.searches:
        optimizer = lbfgs(method.line_search or 20)
    else:
        optimizer = optax.adam(1.0) if method.optimizer is None else method.optimizer
    dtype = dtype_of(start)

    def one(own: dict[str, Any]) -> Samples:
        this = problem.of_sample(own)
        z = KeyNoise(sample_key(key, own["index"])).initial(model.shape, dtype)
        if start is not None:
            kept = jnp.asarray(1.0 if blend is None else blend, dtype)
            z = jnp.sqrt(kept) * own["start"] / levels.scale[0].astype(dtype) + jnp.sqrt(1.0 - kept) * z
        project = this.conditioned.project
        first, solve_any = method.problem(this.conditioned, levels, project(z))

        def solve(variable: Array) -> tuple[Array, Array]:
            return solve_any(project(variable))

        first = as_varying(first, axes := varying_over(z))
        if axes and method.searches:
            raise ValueError(
                "method descends by optax's L-BFGS, which is not typed for jax.shard_map; give it a rate or an "
                "optimizer, or pass check_vma=False to shard_map"
            )

        def loss(variable: Array) -> Array:
            x, penalty = solve(variable)
            return penalty - this.objective(x, this.target)

        end = minimize(loss, first, optimizer, method.iterations, method.tolerance, method.rate)
        x, penalty = solve(end.variable)
        begun = jnp.where(end.still & end.status.ok, UNGUIDED, end.status.code)
        status = Status(begun, end.status.step).after(status_code(x, levels.scale[-1]), end.iterations)
        usable = this.usable() if start is None else this.usable() & jnp.all(jnp.isfinite(own["start"]))
        calls = model.calls(None, this.cond is not None)
        cost = (method.closure.as_arrays() * end.evaluations + method.final.as_arrays()).networks(calls)
        info = {"objective": penalty - end.value, "iterations": end.iterations, "variable": end.variable}
        return Samples(x, status.if_valid(usable), cost, info)

    return map_samples(one, per_sample, shared=problem.objective)
