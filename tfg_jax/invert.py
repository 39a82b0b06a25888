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
from jaxtyping import Array, Float, PyTree

from tfg_jax import arguments, loops
from tfg_jax.batch import Batching, map_samples
from tfg_jax.checks import check_choice, check_steps
from tfg_jax.denoiser import Model
from tfg_jax.kinds import check_leaves, public
from tfg_jax.lookahead import Conditioned
from tfg_jax.numbers import one_form
from tfg_jax.problem import Problem
from tfg_jax.result import Cost, Samples, Status, status_code
from tfg_jax.timesteps import Grid, Uniform

FIRST_SHARE = 1e-2
"""The network is not defined at sigma = 0: the first gradient is taken at this share of the first step."""


@public
def invert(
    model: Model,
    x: Float[Array, "n *shape"],
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
        x: clean samples.
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
    problem, batching = Problem(model, cond), Batching(len(x) if getattr(x, "ndim", 0) else 0, chunk=chunk)
    arguments.check_samples("x", x, (batching.num_samples, *model.shape))
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
    return batching.run(program, (shared, one_form(grid or Uniform(), x.dtype)), {**data, "x": x})


@partial(jax.jit, static_argnames=("steps", "order"))
def _invert(problem: Problem, grid: Grid, per_sample: dict[str, Any], *, steps: int, order: int) -> Samples:
    model = problem.model
    times = grid(model.schedule, steps)[::-1]
    levels = model.schedule.level(times)
    seen = jnp.maximum(times, FIRST_SHARE * times[1])
    ends = (seen[:-1],) if order == 1 else (seen[:-1], seen[1:])
    # One time after another, as the solve itself goes: a mapped time would count both branches of a condition on it.
    calls = jax.lax.map(
        lambda t: jnp.asarray(model.calls(t, per_sample["cond"] is not None), jnp.int32), jnp.concatenate(ends)
    )

    def one(data: dict) -> Samples:
        own = problem.of_sample(data)
        denoise = Conditioned(own.model, own.cond)

        def gradient(xbar: Array, t: Array) -> Array:
            level = model.schedule.level(jnp.maximum(t, FIRST_SHARE * times[1]))
            denoised = denoise((level.alpha + level.sigma).astype(xbar.dtype) * xbar, level.t)
            return denoised.x0 - denoised.eps

        def step(carry: tuple[Array, Status], ends: tuple) -> tuple[tuple[Array, Status], None]:
            (xbar, status), (index, t, t_next, s, s_next) = carry, ends
            gap = (s_next - s).astype(xbar.dtype)
            first = gradient(xbar, t)
            moved = xbar + gap * first
            if order == 2:
                moved = xbar + 0.5 * gap * (first + gradient(moved, t_next))
            status = status.after(status_code(moved, jnp.hypot(s_next, 1.0 - s_next)), index)  # scale / (alpha + sigma)
            return (jnp.where(status.ok, moved, xbar), status), None

        s = levels.s
        ends = (jnp.arange(steps, dtype=jnp.int32), times[:-1], times[1:], s[:-1], s[1:])
        start = levels.alpha[0] + levels.sigma[0]
        (xbar, status), _ = loops.scan(step, (data["x"] / start.astype(data["x"].dtype), Status.begun()), ends)
        last = (levels.alpha[-1] + levels.sigma[-1]).astype(xbar.dtype)
        return Samples(last * xbar, status, Cost(forwards=jnp.sum(calls)).as_arrays(), {})

    return map_samples(one, per_sample)
