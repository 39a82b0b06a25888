"""The public entry of end-to-end guidance: optimize, then return the samples the optimum gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax import arguments
from tfg_jax.batch import check_sharding, in_chunks, indices, map_samples, placed
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Model
from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.descend import lbfgs, minimize
from tfg_jax.endtoend.source import DFlow
from tfg_jax.kinds import check_leaves, public
from tfg_jax.lookahead import Conditioned
from tfg_jax.loops import as_varying, varying_over
from tfg_jax.noise import KeyNoise, root_key, sample_key
from tfg_jax.numbers import number, one_form
from tfg_jax.objectives.base import Objective, as_objective
from tfg_jax.result import UNGUIDED, Cost, Samples, Status, judged
from tfg_jax.sample import sampling_times
from tfg_jax.samplers.ode import Euler


@public
def end_to_end(
    key: PRNGKeyArray,
    model: Model,
    method: DFlow | Controls,
    *,
    objective: Objective | Callable[..., Array],
    num_samples: int,
    target: PyTree = None,
    cond: PyTree = None,
    start: Float[Array, "n *shape"] | None = None,
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
        num_samples: how many.
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
    checked, data = _checked(model, method, objective, num_samples, target, cond, start, blend, chunk, index_offset)
    check_sharding(sharding, num_samples=num_samples, chunk=chunk)
    shared = _shared(model, method, checked, blend, data)
    per_sample = {"index": indices(num_samples, index_offset, sharding), **placed(data, sharding)}
    return in_chunks(_run, (root_key(key), *shared), per_sample, chunk)


def _shared(model: Model, method: Any, objective: Any, blend: ArrayLike | None, data: dict) -> tuple:
    """What all samples share, its numbers in their one form."""
    dtype = _dtype(data["start"])
    return *(one_form(part, dtype) for part in (model, method, objective)), number(blend, dtype)


class Preview(NamedTuple):
    """What a run will take.

    ``cost`` counts the calls of one sample, at most; ``memory`` is the bytes of arguments, results and temporaries of
    the compiled program, which holds a chunk's solves at once, or None where the device does not tell.
    """

    cost: Cost
    memory: int | None


@public
def preview_end_to_end(
    model: Model,
    method: DFlow | Controls,
    *,
    objective: Objective | Callable[..., Array],
    num_samples: int,
    target: PyTree = None,
    cond: PyTree = None,
    start: Float[Array, "n *shape"] | None = None,
    chunk: int | None = None,
) -> Preview:
    """Network calls and memory of `end_to_end` with these arguments: its program is compiled and not run.

    Raises:
        ValueError: as `end_to_end`.
    """
    checked, data = _checked(model, method, objective, num_samples, target, cond, start, None, chunk, 0)
    together = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((chunk or num_samples, *leaf.shape[1:]), leaf.dtype),
        {"index": np.arange(num_samples, dtype=np.int32), **data},
    )
    lowered = _run.lower(root_key(jax.random.key(0)), *_shared(model, method, checked, None, data), together)
    return Preview(upper_end_to_end_cost(method, model, conditional=cond is not None), memory_of(lowered.compile()))


def memory_of(compiled: Any) -> int | None:
    """Bytes of arguments, results and temporaries of a compiled program; None where the device does not tell."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes


def _checked(
    model: Model, method: DFlow | Controls, objective: Any, num_samples: int, target: PyTree, cond: PyTree,
    start: Any, blend: Any, chunk: int | None, index_offset: Any,
) -> tuple[Objective, dict]:  # fmt: skip
    """The objective and the samples' own data, once all arguments are found to fit each other."""
    objective = as_objective(objective)
    arguments.check_counts(num_samples, chunk, index_offset)
    arguments.check_cond(model, cond, num_samples)
    if objective.noisy:
        raise ValueError(
            "objective must be one of clean samples, e.g. class_log_prob: only the end of the solve is seen"
        )
    objective.check(target, num_samples, model.shape)
    arguments.check_scalar(objective, target, model.shape)
    grid, steps = (method.grid, method.steps) if isinstance(method, Controls) else (None, 1)
    arguments.check_signal(model, None, *arguments.check_grid(grid, model.schedule, steps))
    if start is not None:
        arguments.check_samples("start", start, (num_samples, *model.shape))
    elif blend is not None:
        raise ValueError("blend has no effect without start; pass start=, e.g. tfg.invert(model, x).x, or drop blend")
    check_number("blend", blend, low=0.0, high=1.0)
    check_leaves(model=model, method=method, objective=objective, cond=cond, target=target)
    return objective, {"cond": cond, "target": target, "start": start}


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
def _run(
    key: PRNGKeyArray, model: Model, method: Any, objective: Any, blend: ArrayLike | None, data: dict[str, Any]
) -> Samples:
    controls = isinstance(method, Controls)
    sampler = Euler(method.steps, method.grid) if controls else Euler(1)
    levels = model.schedule.level(sampling_times(model, sampler))
    if method.searches:
        optimizer = lbfgs(method.line_search or 20)
    else:
        optimizer = optax.adam(1.0) if method.optimizer is None else method.optimizer
    start = data["start"]
    dtype = _dtype(start)

    def one(own: dict) -> Samples:
        z = KeyNoise(sample_key(key, own["index"])).initial(model.shape, dtype)
        if start is not None:
            kept = jnp.asarray(1.0 if blend is None else blend, dtype)
            z = jnp.sqrt(kept) * own["start"] / levels.scale[0].astype(dtype) + jnp.sqrt(1.0 - kept) * z
        first, solve = method.problem(Conditioned(model, own["cond"]), levels, z)
        first = as_varying(first, axes := varying_over(z))
        if axes and method.searches:
            raise ValueError(
                "method descends by optax's L-BFGS, which is not typed for jax.shard_map; give it a rate or an "
                "optimizer, or pass check_vma=False to shard_map"
            )

        def loss(variable: Array) -> Array:
            x, penalty = solve(variable)
            return penalty - objective(x, own["target"])

        found = minimize(loss, first, optimizer, method.iterations, method.tolerance, method.rate)
        x, penalty = solve(found.variable)
        begun = jnp.where(found.still & found.status.ok, UNGUIDED, found.status.code)
        status = Status(begun, found.status.step).after(judged(x, levels.scale[-1]), found.iterations)
        calls = model.calls(None, data["cond"] is not None)
        cost = (method.closure.as_arrays() * found.evaluations + method.final.as_arrays()).networks(calls)
        info = {"objective": penalty - found.value, "iterations": found.iterations, "variable": found.variable}
        return Samples(x, status, cost, info)

    return map_samples(one, data, shared=objective)


def _dtype(start: Array | None) -> Any:
    return jnp.float32 if start is None else jnp.promote_types(start.dtype, jnp.float32)
