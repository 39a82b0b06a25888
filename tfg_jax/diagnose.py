"""What a longer horizon would change, for given states, before any sampling is paid for.

The estimate's error falls as the horizon grows; the error of its gradient need not. A Tweedie step that starts at the
noise level where the mode is decided has the Jacobian ``(s / (1 - s)^2) Var[x0 | x]``, large just there: the curve of
the gradient's norm shows it as a spike, its cosine to the whole solve as a dip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import arguments, struct
from tfg_jax.batch import Batching, map_samples
from tfg_jax.checks import check_numbers, safe_norm
from tfg_jax.denoiser import Model
from tfg_jax.domains.base import packed, unpacked
from tfg_jax.kinds import check_leaves, public
from tfg_jax.numbers import number, one_form
from tfg_jax.objectives.base import Objective
from tfg_jax.problem import Problem
from tfg_jax.result import Cost
from tfg_jax.truncated import TruncatedSolve


@struct.dataclass
class HorizonCurve:
    """Estimate and guidance gradient of n states against H horizons; build it with `diagnose_horizon`.

    Attributes:
        horizons: the horizons.
        x0: the denoised estimates, (n, H, *shape) or a pytree of such arrays.
        value: the objective at them.
        distance: Euclidean distance of the estimate from that of the whole solve.
        norm: Euclidean norm of the gradient in x / sqrt(alpha^2 + sigma^2), where strengths act.
        cosine: cosine between the gradient and that of the whole solve (horizon 1), 0 if either vanishes.
        cost: calls made for a state.
    """

    horizons: Float[Array, " H"]
    x0: PyTree
    value: Float[Array, "n H"]
    distance: Float[Array, "n H"]
    norm: Float[Array, "n H"]
    cosine: Float[Array, "n H"]
    cost: Cost


@public
def diagnose_horizon(
    model: Model,
    x: PyTree,
    t: ArrayLike,
    objective: Objective | Callable[..., Array],
    target: PyTree = None,
    horizons: ArrayLike | tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0),
    *,
    lookahead: TruncatedSolve | None = None,
    cond: PyTree = None,
    chunk: int | None = None,
) -> HorizonCurve:
    """Estimate, gradient cosine and gradient norm against the horizon.

    Args:
        model: the diffusion or flow model.
        x: noisy states at time ``t``, e.g. recorded ones.
        t: their time in (0, 1].
        objective: log-weight of a clean sample, as in `tfg_jax.sample`.
        target: leaves (n, ...), one a state.
        horizons: (H,) in [0, 1] (traced).
        lookahead: a `TruncatedSolve` whose horizon is replaced; default 16 midpoint steps. With diffrax's ForwardMode
            adjoint the gradient is taken forward, one pass a coordinate: for small states.
        cond: (n,) class of each state, for conditional models.
        chunk: states computed together; None is all at once.

    Raises:
        ValueError: states, times, horizons or targets that do not fit; a lookahead that cannot serve.
    """
    solve = TruncatedSolve(steps=16) if lookahead is None else lookahead
    if solve.horizon is None:
        raise ValueError("lookahead=TruncatedSolve.whole(...) has no horizon to vary; pass TruncatedSolve(steps=...)")
    solve = dataclasses.replace(solve, horizon=0.0)
    arguments.check_arrays("x", model, x)
    problem = Problem.of(model, cond, objective, target)
    batching = Batching(arguments.count_of(None, x), chunk=chunk)
    check_numbers("horizons", horizons, low=0.0, high=1.0)
    if np.ndim(horizons) != 1:
        raise ValueError(f"horizons has shape {np.shape(horizons)}; give a list of numbers in [0, 1]")
    arguments.check_start((x, t), model, batching.num_samples)
    x = packed(model, x)
    arguments.check_signal(model, None, "t", t)
    batching.check()
    problem.check_flow(f"lookahead={type(solve).__name__}")
    problem.check(batching.num_samples)
    check_leaves(lookahead=solve)
    shared, data = problem.split(x.dtype)
    horizons = jnp.asarray(horizons, x.dtype)
    arrays = batching.run(
        _diagnose, (shared, number(t, x.dtype), horizons, one_form(solve, x.dtype)), {**data, "x": x}
    )  # fmt: skip
    return HorizonCurve(horizons=horizons, **{**arrays, "x0": unpacked(model, arrays["x0"])})


@jax.jit
def _diagnose(
    problem: Problem, t: ArrayLike, horizons: Array, lookahead: TruncatedSolve, per_sample: dict[str, Any]
) -> dict[str, Any]:
    level = problem.model.schedule.level(t)
    every = jnp.append(horizons, 1.0)
    forward = type(lookahead.adjoint).__name__ == "ForwardMode"

    def one(data: dict) -> tuple[Array, Array, Array]:
        own, x = problem.of_sample(data), data["x"]
        denoise, objective = own.conditioned, own.objective

        def at(horizon: Array) -> tuple[Array, Array, Array]:
            evaluation = dataclasses.replace(lookahead, horizon=horizon)
            if forward:
                estimate = lambda x: evaluation.estimate(denoise, x, level)[0]  # noqa: E731
                value_of = lambda x: (objective(x0 := estimate(x), own.target), x0)  # noqa: E731
                (value, x0), gradient = (value_of(x), jax.jacfwd(lambda x: value_of(x)[0])(x))
                return x0, value, gradient
            seen = evaluation(denoise, x, level)
            value, gradient = jax.value_and_grad(objective)(seen.x0, own.target)
            return seen.x0, value, seen.pullback(gradient)

        return jax.vmap(at)(every)

    x0, value, gradient = map_samples(one, per_sample)
    x = per_sample["x"]
    # Everything below is per state and horizon: norms run over the sample's own axes alone.
    norm = jax.vmap(jax.vmap(safe_norm))
    dot = jnp.sum((gradient * gradient[:, -1:]).reshape(*gradient.shape[:2], -1), axis=-1)
    lengths = norm(gradient)
    product = lengths * lengths[:, -1:]
    cosine = jnp.where(product > 0, dot / jnp.where(product > 0, product, 1.0), 0.0)
    calls = (lookahead.cost + Cost(forwards=lookahead.recomputed, objective=1)) * every.shape[0]
    passes = x.size // x.shape[0]
    if forward:
        calls = Cost(forwards=lookahead.cost.forwards * (1 + passes), objective=1 + passes) * every.shape[0]
    return {
        "x0": x0[:, :-1], "value": value[:, :-1], "distance": norm(x0 - x0[:, -1:])[:, :-1],
        "norm": (level.scale.astype(x.dtype) * lengths)[:, :-1], "cosine": cosine[:, :-1],
        "cost": jax.tree.map(lambda a: jnp.full(x.shape[0], a, jnp.int32), calls),
    }  # fmt: skip
