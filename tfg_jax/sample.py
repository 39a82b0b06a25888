"""The public entry: guided sampling as one compiled function of (key, model, configuration)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax import arguments
from tfg_jax.batch import check_sharding, in_chunks, indices, map_samples, placed
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Model
from tfg_jax.guidance.base import Guidance, Unguided, step_cost
from tfg_jax.kinds import check_leaves, public
from tfg_jax.lookahead import Clip, Lookahead, Tweedie
from tfg_jax.noise import KeyNoise, NoiseTape, root_key, sample_key
from tfg_jax.numbers import number, one_form
from tfg_jax.objectives.base import Objective, as_objective
from tfg_jax.objectives.classifier import ClassLogProb
from tfg_jax.objectives.compose import Sum, Through, Weighted
from tfg_jax.objectives.inverse import GaussianLogLikelihood, PhotonResidual, PoissonLogLikelihood, ResidualNorm
from tfg_jax.per_sample import split_per_sample, with_own
from tfg_jax.result import INVALID_INPUT, Cost, Samples, Status
from tfg_jax.samplers.base import Sampler
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.samplers.loop import Plan, Record, sample_one
from tfg_jax.timesteps import Uniform


@public
def sample(
    key: PRNGKeyArray,
    model: Model,
    *,
    num_samples: int | None = None,
    cond: PyTree = None,
    objective: Objective | Callable[..., Array] | None = None,
    target: PyTree = None,
    guidance: Guidance | None = None,
    lookahead: Lookahead | None = None,
    sampler: Sampler | None = None,
    clip: Clip | None = None,
    start: tuple[Float[Array, "n *shape"], ArrayLike] | None = None,
    noise: NoiseTape | None = None,
    window: tuple[ArrayLike, ArrayLike] | None = None,
    record: Record | None = None,
    index_offset: ArrayLike = 0,
    chunk: int | None = None,
    sharding: NamedSharding | None = None,
) -> Samples:
    """Sample what the objective asks for.

    Sample i depends on (weights, configuration, key, index_offset + i) alone: not on batch size, order or device count.
    Everything but the structure is traced: sweeping strengths, targets, weights or the key compiles once. Composes with
    jit (static: num_samples, chunk, record, sharding), grad and vmap.

    Args:
        key: root key, ``jax.random.key(seed)``; draws are those of Threefry whatever its type, see `root_key`.
        model: the diffusion or flow model, or a transform of one such as `CFG`.
        num_samples: how many; may be left out if target, cond, start or noise say it.
        cond: (n,) class of each sample, for conditional models; None is unconditional.
        objective: log-weight of a clean sample, higher is better; one of `tfg_jax.objectives`, or a plain function
            ``(x0, target) -> scalar`` defined at module level.
        target: what the objective is asked for, leaves (n, ...): one target a sample.
        guidance: the method, e.g. `TFG`; None is unguided.
        lookahead: the denoised estimate the gradient goes through; default `Tweedie`.
        sampler: the sampler rule; default ``DDIM(steps=50, eta=1.0)``.
        clip: clips denoised estimates to the data's range; None does not.
        start: (x_t, t): start from these noisy samples at time t in (0, 1] instead of pure noise.
        noise: replays recorded draws instead of the key's.
        window: (low, high) log-SNRs between which guidance acts; outside, its work is skipped.
        record: what to keep of the way; by default nothing.
        index_offset: global index of the first sample, >= 0 (traced).
        chunk: samples computed together, of all devices; chunks are padded to one shape, so that any number of samples
            runs one compiled program. None is all at once.
        sharding: splits the samples over the devices of a mesh as it splits the first axis; None leaves them where
            their targets, conditions or starts are.

    Returns:
        `Samples`: x (n, *shape), per-sample status and cost, info.

    Raises:
        ValueError: an argument of wrong shape, dtype or range, or one that cannot have an effect; the message names it.
    """
    sampler = DDIM() if sampler is None else sampler
    objective = None if objective is None else as_objective(objective)
    n = _count(num_samples, cond, target, start, noise)
    _check(
        model, n, cond, objective, target, guidance, lookahead, sampler, clip, start, noise, window, index_offset,
        chunk, record,
    )  # fmt: skip
    check_leaves(
        model=model, objective=objective, guidance=guidance, lookahead=lookahead, sampler=sampler, cond=cond,
        target=target,
    )  # fmt: skip
    check_sharding(sharding, num_samples=n, chunk=chunk)
    dtype = _dtype(None if start is None else start[0], noise)
    run = _Run(model, objective, guidance or Unguided(), lookahead or Tweedie(), sampler, clip)
    run = _Run._make(one_form(part, dtype) for part in run)
    bare, own = split_per_sample(run.model)
    window = None if window is None else (number(window[0], dtype), number(window[1], dtype))
    state, time = (None, None) if start is None else (start[0], number(start[1], dtype))
    data = {"cond": cond, "target": target, "noise": noise, "start": state, "model": own}
    per_sample = {"index": indices(n, index_offset, sharding), **placed(data, sharding)}
    return in_chunks(
        partial(_sample, record=record), (root_key(key), run._replace(model=bare), window, time), per_sample, chunk
    )


@public
def sampling_times(
    model: Model, sampler: Sampler, start_time: ArrayLike | None = None
) -> Float[Array, " {sampler.steps}+1"]:
    """The times a run visits, steps + 1 of them, noisy to clean.

    With a ``start_time`` the whole grid is squeezed: its times are multiplied by start_time / first time.
    """
    check_number("start_time", start_time, low=0.0, high=1.0, strict=True)
    times = (sampler.grid or Uniform())(model.schedule, sampler.steps)
    if start_time is not None:
        start = jnp.asarray(start_time, times.dtype)
        times = jnp.concatenate([start[None], (times * (start / times[0]))[1:]])
    return times


@public
def upper_cost(
    guidance: Guidance | None,
    lookahead: Lookahead | None,
    sampler: Sampler,
    model: Model | None = None,
    *,
    conditional: bool = True,
) -> Cost:
    """Calls per sample of a run before it is made; windows, intervals and last steps can only make it cheaper.

    Args:
        guidance, lookahead, sampler: as in `sample`.
        model: a transform such as `CFG`, whose evaluations take several network forwards; None counts one each.
        conditional: whether the run has a ``cond``; read with a model only.
    """
    method = guidance or Unguided()
    calls = 1 if model is None else model.calls(None, conditional)
    once = (step_cost(method, lookahead or Tweedie()) + sampler.extra_cost).networks(calls)
    return once * (sampler.steps * method.n_recur)


class _Run(NamedTuple):
    """The traced part of a run as one pytree."""

    model: Model
    objective: Any
    guidance: Guidance
    lookahead: Lookahead
    sampler: Sampler
    clip: Clip | None


@partial(jax.jit, static_argnames="record")
def _sample(
    key: PRNGKeyArray,
    run: _Run,
    window: tuple[ArrayLike, ArrayLike] | None,
    start_time: ArrayLike | None,
    per_sample: dict[str, Any],
    *,
    record: Record | None,
) -> Samples:
    model, objective, guidance, lookahead, sampler, clip = run
    times = sampling_times(model, sampler, start_time)
    levels = model.schedule.level(times)
    if levels.alpha.shape != times.shape or levels.sigma.shape != times.shape:
        raise ValueError(
            f"schedule={type(model.schedule).__name__} gives levels of shape {levels.alpha.shape} for times of shape "
            f"{times.shape}; its parameters are one number each, map over several with jax.vmap"
        )
    plan = Plan(model, guidance, sampler, lookahead, clip, objective, levels, window, record)
    state, noise = per_sample["start"], per_sample["noise"]
    dtype = _dtype(state, noise)
    first = jax.tree.map(lambda a: a[0].astype(dtype), levels)

    def one(data: dict[str, Any]) -> Samples:
        source = KeyNoise(sample_key(key, data["index"])) if noise is None else data["noise"]
        x = data["start"].astype(dtype) if state is not None else first.scale * _initial(source, model.shape, dtype)
        x, status, cost, info = sample_one(
            plan._replace(denoiser=with_own(model, data["model"])), x, data["cond"], data["target"], source
        )
        return Samples(x, _judge_input(status, model, objective, data), cost, info)

    return map_samples(one, per_sample, shared=objective)


def _judge_input(status: Status, model: Model, objective: Any, data: dict[str, Any]) -> Status:
    """Input that could not be checked eagerly, under jit: a non-finite start, a condition or target out of range."""
    bad = _unusable(objective, data["target"])
    if data["start"] is not None:
        bad = bad | ~jnp.all(jnp.isfinite(data["start"]))
    if data["cond"] is not None and model.num_classes is not None:
        bad = bad | jnp.any((data["cond"] < 0) | (data["cond"] >= model.num_classes))
    return Status(jnp.where(bad, INVALID_INPUT, status.code), jnp.where(bad, -1, status.step))


def _unusable(objective: Any, target: PyTree) -> Array:
    """Whether a sample's target is a class out of range or a non-finite measurement, also in composed objectives."""
    match objective:
        case Sum():
            return jnp.any(jnp.stack([_unusable(*each) for each in zip(objective.parts, target, strict=True)]))
        case Weighted() | Through():
            return _unusable(objective.objective, target)
        case ClassLogProb():
            return (target < 0) | (target >= objective.classifier.num_classes)
        case GaussianLogLikelihood() | PoissonLogLikelihood() | PhotonResidual() | ResidualNorm():
            return ~jnp.all(jnp.isfinite(target))
    return jnp.zeros((), bool)


def _initial(source: KeyNoise | NoiseTape, shape: tuple[int, ...], dtype: Any) -> Array:
    if isinstance(source, NoiseTape):
        return source.initial.astype(dtype)
    return source.initial(shape, dtype)


def _dtype(start: Array | None, noise: NoiseTape | None) -> Any:
    given = start.dtype if start is not None else noise.initial.dtype if noise is not None else jnp.float32
    return jnp.promote_types(given, jnp.float32)


def _count(num_samples: int | None, cond: PyTree, target: PyTree, start: Any, noise: Any) -> int:
    if num_samples is not None:
        return num_samples
    for value in (start[0] if isinstance(start, tuple | list) and start else None, cond, target, noise):
        leaves = [leaf for leaf in jax.tree.leaves(value) if getattr(leaf, "ndim", 0)]
        if leaves:
            return leaves[0].shape[0]
    raise ValueError("num_samples is missing; pass it, or a target, cond or start with one entry a sample")


def _check(
    model: Model, n: int, cond: PyTree, objective: Any, target: PyTree, guidance: Any, lookahead: Any, sampler: Any,
    clip: Any, start: Any, noise: Any, window: Any, index_offset: Any, chunk: Any, record: Record | None,
) -> None:  # fmt: skip
    arguments.check_counts(n, chunk, index_offset)
    if record is not None:
        record.check(sampler.steps)
    begins = arguments.check_grid(sampler.grid, model.schedule, sampler.steps)
    arguments.check_window(window)
    arguments.check_cond(model, cond, n)
    arguments.check_model(model, guidance, sampler, cond, n, lookahead)
    arguments.check_guidance(guidance, objective, target, lookahead, window, record, model.shape, n)
    if start is not None:
        arguments.check_start(start, model.shape, n)
        begins = ("start=(x_t, t)", start[1])
    arguments.check_signal(model, guidance, *begins)
    if noise is not None:
        if start is None and noise.initial is None:
            raise ValueError("noise.initial=None but the run starts from noise; record it or pass start=")
        arguments.check_noise(noise, model.shape, sampler.steps, (guidance or Unguided()).n_recur, n)
