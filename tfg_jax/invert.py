"""Probability-flow inversion: from data to the noise that a deterministic sampler maps back to it.

    xbar = x / (alpha + sigma),  s = alpha / (alpha + sigma):      dxbar/ds = x0(x, t) - eps(x, t)

walked from data (s = 1) to noise with Euler (DDIM inversion, Song et al., arXiv 2010.02502) or Heun steps.
Cost a step: 1 network forward (Euler) or 2 (Heun).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import arguments, ode
from tfg_jax.batch import Batching, map_samples
from tfg_jax.checks import check_choice, check_steps
from tfg_jax.denoiser import Model
from tfg_jax.kinds import check_leaves, public
from tfg_jax.numbers import one_form
from tfg_jax.ode import scan
from tfg_jax.problem import Problem
from tfg_jax.result import Cost, Samples, Status, status_code
from tfg_jax.timesteps import Grid, Uniform

FIRST_SHARE = 1e-2
"""The network is not defined at sigma = 0: it is first called at this share of the first step."""


@public
def invert(
    model: Model,
    x: PyTree,
    *,
    cond: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    order: Literal[1, 2] = 2,
    chunk: int | None = None,
) -> Samples:
    """The noise at the grid's first level that the probability flow maps to ``x``.

    Sample it back with ``tfg.sample(key, model, start=(noise.x, t_start), sampler=tfg.Heun(steps))``.

    Args:
        model: the diffusion or flow model.
        x: (n, *shape) clean samples, or a pytree of such where samples are pytrees.
        cond: (n,) class of each sample, for conditional models.
        steps: number of steps, >= 1.
        grid: where they are placed; None is `Uniform`.
        order: 1 is Euler (DDIM inversion), 2 is Heun.
        chunk: samples computed together; None is all at once.

    Returns:
        `Samples` whose x is the noisy state at the grid's first time.

    Raises:
        ValueError: samples of another shape than the model's, bad counts or order.
    """
    arguments.check_arrays("x", model, x)
    problem, batching = Problem(model, cond), Batching(arguments.count_of(None, x), chunk=chunk)
    x = arguments.entered("x", model, x, batching.num_samples)
    batching.check()
    problem.check_flow("inversion")
    problem.check(batching.num_samples)
    if jax.eval_shape(model.begin, jax.ShapeDtypeStruct(x.shape[1:], x.dtype)) is not None:
        raise ValueError(f"model={type(model).__name__} has memory, so it has no flow to invert; drop its memory")
    check_steps(steps)
    arguments.check_signal(model, None, *arguments.check_grid(grid, model.schedule, steps))
    check_choice("order", order, (1, 2))  # type: ignore[arg-type]
    check_leaves(grid=grid)
    shared, data = problem.split(x.dtype)
    program = partial(_invert, steps=steps, order=order)
    return problem.result(batching.run(program, (shared, one_form(grid or Uniform(), x.dtype)), {**data, "x": x}))


@partial(jax.jit, static_argnames=("steps", "order"))
def _invert(problem: Problem, grid: Grid, per_sample: dict[str, Any], *, steps: int, order: int) -> Samples:
    model = problem.model
    times = grid(model.schedule, steps)[::-1]
    levels = model.schedule.level(times)
    sums, scales = levels.alpha + levels.sigma, jnp.hypot(levels.s, 1.0 - levels.s)  # scale / (alpha + sigma)
    called = model.schedule.level(jnp.maximum(times, FIRST_SHARE * times[1]))
    points = ode.Point(called.t, (called.alpha + called.sigma).astype(per_sample["x"].dtype))
    starts, ends = jax.tree.map(lambda a: a[:-1], points), jax.tree.map(lambda a: a[1:], points)
    path = ode.Grid(jnp.diff(levels.s), (starts, ends), _end_of_step)
    # One time after another, as the solve itself goes: a mapped time would count both branches of a condition on it.
    calls = jax.lax.map(
        lambda t: jnp.asarray(model.calls(t, per_sample["cond"] is not None), jnp.int32),
        starts.t if order == 1 else jnp.concatenate([starts.t, ends.t]),
    )

    def one(data: dict) -> Samples:
        own = problem.of_sample(data)
        flow = ode.ProbabilityFlow(own.conditioned)

        def accept(before: Array, after: Array, state: tuple[Status, Array]) -> tuple[Array, tuple[Status, Array]]:
            status, index = state
            status = status.after(status_code(after, scales[index + 1]), index)
            return jnp.where(status.ok, after, before), (status, index + 1)

        state, x = (Status.begun(), jnp.asarray(0, jnp.int32)), own.conditioned.project(data["x"])
        first = x / sums[0].astype(x.dtype)
        method = "euler" if order == 1 else "heun"
        xbar, (status, _) = scan.solve(flow, first, path, method, "none", accept=accept, state=state)
        return Samples(sums[-1].astype(xbar.dtype) * xbar, status, Cost(forwards=jnp.sum(calls)).as_arrays(), {})

    return map_samples(one, per_sample)


def _end_of_step(ends: tuple[ode.Point, ode.Point], share: Array | float, length: Array) -> ode.Point:
    """The nodes alone, which is all that Euler and Heun steps see."""
    return jax.tree.map(lambda start, end: jnp.where(share < 1.0, start, end), *ends)
