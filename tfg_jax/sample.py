"""The public entry: guided sampling as one compiled function of (key, model, configuration)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax import arguments
from tfg_jax.batch import Batching, map_samples
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Model
from tfg_jax.domains.base import packed
from tfg_jax.guidance.base import Guidance, Unguided, step_cost
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip, Lookahead, Tweedie
from tfg_jax.noise import KeyNoise, NoiseTape, root_key, sample_key
from tfg_jax.numbers import number
from tfg_jax.objectives.base import Objective
from tfg_jax.problem import Plan, Problem, Record
from tfg_jax.result import Cost, Samples
from tfg_jax.samplers.base import Sampler
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.timesteps import Uniform
from tfg_jax.trajectory import follow

DEFAULT_SAMPLER = DDIM()


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
    start: tuple[PyTree, ArrayLike] | None = None,
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
    problem = Problem.of(model, cond, objective, target)
    plan = Plan(guidance, DEFAULT_SAMPLER if sampler is None else sampler, lookahead, clip, window, record)
    batching = Batching(arguments.count_of(num_samples, start, cond, target, noise), index_offset, chunk, sharding)
    batching.check()
    plan.check(problem)
    problem.check(batching.num_samples, clean=False)
    _check_states(problem, plan, batching.num_samples, start, noise)
    x, time = (None, None) if start is None else (packed(model, start[0]), start[1])
    if noise is not None:
        noise = arguments.entered_noise(noise, model, (batching.num_samples, plan.sampler.steps, plan.method.n_recur))
    dtype = dtype_of(x, noise)
    shared, data = problem.split(dtype)
    arrays = (root_key(key), shared, plan.filled(dtype), number(time, dtype))
    return problem.result(batching.run(sample_all, arrays, {**data, "start": x, "noise": noise}))


def _check_states(problem: Problem, plan: Plan, num_samples: int, start: Any, noise: NoiseTape | None) -> None:
    """Raise ValueError unless the run has times, states or noise to begin with that fit, and signal where it begins."""
    sampler = plan.sampler
    begins = arguments.check_grid(sampler.grid, problem.model.schedule, sampler.steps)
    if start is not None:
        arguments.check_start(start, problem.model, num_samples)
        begins = ("start=(x_t, t)", start[1])
    arguments.check_signal(problem.model, plan.guidance, *begins)
    if noise is not None and start is None and noise.initial is None:
        raise ValueError("noise.initial=None but the run starts from noise; record it or pass start=")


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


@jax.jit
def sample_all(
    key: PRNGKeyArray, problem: Problem, plan: Plan, start_time: ArrayLike | None, per_sample: dict[str, Any]
) -> Samples:
    """Every sample, all at once, inside the core; ``per_sample`` holds what each has of its own, as `sample` does."""
    model, start, noise = problem.model, per_sample["start"], per_sample["noise"]
    times = sampling_times(model, plan.sampler, start_time)
    levels = model.schedule.level(times)
    if levels.alpha.shape != times.shape or levels.sigma.shape != times.shape:
        raise ValueError(
            f"schedule={type(model.schedule).__name__} gives levels of shape {levels.alpha.shape} for times of shape "
            f"{times.shape}; its parameters are one number each, map over several with jax.vmap"
        )
    dtype = dtype_of(start, noise)
    first = jax.tree.map(lambda a: a[0].astype(dtype), levels)

    def one(own: dict[str, Any]) -> Samples:
        source = KeyNoise(sample_key(key, own["index"])) if noise is None else own["noise"]
        this = problem.of_sample(own)
        x = own["start"].astype(dtype) if start is not None else first.scale * _initial(source, model.shape, dtype)
        x = this.conditioned.project(x)
        end = follow(this, plan, levels, x, source)
        usable = this.usable() if start is None else this.usable() & jnp.all(jnp.isfinite(own["start"]))
        return Samples(end.x, end.status.if_valid(usable), end.cost, end.info)

    return map_samples(one, per_sample, shared=problem.objective)


def _initial(source: KeyNoise | NoiseTape, shape: tuple[int, ...], dtype: Any) -> Array:
    if isinstance(source, NoiseTape):
        return source.initial.astype(dtype)
    return source.initial(shape, dtype)


def dtype_of(start: Array | None, noise: NoiseTape | None = None) -> Any:
    """Precision of a run: that of the states or noise it is given, at least float32."""
    if start is None and noise is None:
        return jnp.float32
    given = start.dtype if start is not None else noise.initial.dtype if noise is not None else jnp.float32
    return jnp.promote_types(given, jnp.float32)
