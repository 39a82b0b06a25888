"""Value and gradient of denoised estimates against the exact flow map, on a mixture on the line.

The mixture, the level s = 0.3 and the horizons are those of the documentation's example. The gradient's error is
``|log(J_h / J)|`` with J the derivative of the exact flow map from the state to data, infinite where J_h has the wrong
sign; the value's is the root mean square over the states. All in float64.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tfg_jax import analytic
from tfg_jax.lookahead import Conditioned
from tfg_jax.schedules import RectifiedFlow
from tfg_jax.truncated import TruncatedSolve

S = 0.3
HORIZONS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
SOLVERS = ("euler", "midpoint", "heun", "ralston")
STEPS = (1, 2, 4, 8, 16)
ADJOINT_STEPS, REFERENCE_STEPS = 16, 32
CLOSEST = 1e-6
"""Where the last network call is, in 1 - s: float64 has no need of the wider margin that networks want."""


def line_mixture() -> analytic.Mixture:
    """Three modes on the line."""
    variances = [[[0.25**2]], [[0.1**2]], [[0.4**2]]]
    return analytic.mixture([0.3, 0.5, 0.2], [[-1.5], [0.4], [2.0]], variances)


def estimates(
    lookahead: TruncatedSolve, x: Float[Array, "n 1"], horizons: Float[Array, " H"] | None
) -> tuple[Float[Array, "H n"], Float[Array, "H n"]]:
    """Denoised estimates of the states and their derivatives at each horizon; at the lookahead's own for None."""
    model = line_mixture().denoiser(RectifiedFlow(), "velocity")
    level, denoise = model.schedule.level(jnp.asarray(1.0 - S)), Conditioned(model)

    def one(x: Array, horizon: Array | None) -> tuple[Array, Array]:
        own = lookahead if horizon is None else lookahead.replace(horizon=horizon)  # type: ignore[attr-defined]
        seen = own(denoise, x, level)
        return seen.x0[0], seen.pullback(jnp.ones_like(seen.x0))[0]

    if horizons is None:
        return jax.tree.map(lambda a: a[None], jax.vmap(lambda x: one(x, None))(x))
    return jax.vmap(lambda horizon: jax.vmap(lambda x: one(x, horizon))(x))(horizons)


def states(n: int) -> tuple[Float[Array, "n 1"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """States of the noisy distribution, where the exact flow takes them, and its derivative there."""
    data, levels = line_mixture(), RectifiedFlow().level(jnp.asarray([1.0 - S, 0.0]))
    now, denoised = (jax.tree.map(lambda a, i=i: a[i], levels) for i in (0, 1))
    x = data.noisy(now).sample(jax.random.key(0), n)
    flow = lambda x: jax.jvp(lambda x: data.flow_map(x, now, denoised), (x,), (jnp.ones_like(x),))  # noqa: E731
    value, gradient = jax.jit(jax.vmap(flow))(x)
    return x, np.asarray(value)[:, 0], np.asarray(gradient)[:, 0]


def errors(found: Float[np.ndarray, " n"], gradient: Any, exact: Any, exact_gradient: Any) -> dict[str, float]:
    """Root mean square error of values; median and 90th percentile of the gradients' errors; share of wrong signs."""
    ratio = np.asarray(gradient) / exact_gradient
    log = np.where(ratio > 0, np.abs(np.log(np.where(ratio > 0, ratio, 1.0))), np.inf)
    return {
        "value": float(np.sqrt(np.mean((np.asarray(found) - exact) ** 2))),
        "gradient": float(np.quantile(log, 0.5, method="lower")),
        "gradient_90": float(np.quantile(log, 0.9, method="lower")),
        "wrong_sign": float(np.mean(ratio <= 0)),
    }


def evaluations(lookahead: TruncatedSolve) -> int:
    """Network evaluations of one evaluation and its pullback."""
    return int(lookahead.cost.forwards + lookahead.cost.pullbacks + lookahead.recomputed)


def gradient_errors(
    n: int = 200, solvers: tuple[str, ...] = SOLVERS, steps: tuple[int, ...] = STEPS, reference: bool = True
) -> list[dict[str, Any]]:
    """Errors by solver, steps and horizon; one midpoint step without a tail; Tsit5 as the reference of exact solves."""
    with jax.enable_x64(True):
        x, exact, exact_gradient = states(n)
        lookaheads = [(s, k, TruncatedSolve(0.0, k, s, margin=CLOSEST)) for s in solvers for k in steps]
        if reference:
            import diffrax

            solve = TruncatedSolve(0.0, REFERENCE_STEPS, diffrax.Tsit5(), margin=CLOSEST)
            lookaheads.append(("tsit5 (diffrax)", REFERENCE_STEPS, solve))
        rows = []
        for solver, k, lookahead in lookaheads:
            value, gradient = jax.jit(estimates)(lookahead, x, jnp.asarray(HORIZONS))
            for i, horizon in enumerate(HORIZONS):
                row = {"solver": solver, "steps": k, "horizon": horizon, "evaluations": evaluations(lookahead)}
                rows.append(row | errors(np.asarray(value[i]), gradient[i], exact, exact_gradient))
        whole = TruncatedSolve.whole(1, "midpoint")
        value, gradient = jax.jit(lambda x: estimates(whole, x, None))(x)
        row = {"solver": "midpoint, no tail", "steps": 1, "horizon": None, "evaluations": evaluations(whole)}
        rows.append(row | errors(np.asarray(value[0]), gradient[0], exact, exact_gradient))
    return rows


def adjoint_errors(
    n: int = 200, repeats: int = 5, steps: int = ADJOINT_STEPS, remat_alone: bool = False
) -> list[dict[str, Any]]:
    """Adjoints of the whole solve by midpoint steps: gradient error, seconds and temporary memory of ``n`` states.

    ``remat_alone`` leaves all out but the scan that recomputes every step.
    """
    policies: Sequence[Any] = ("step",) if remat_alone else ("none", "step")
    lookaheads = {f"scan, remat {remat}": TruncatedSolve(1.0, steps, "midpoint", remat=remat) for remat in policies}
    if not remat_alone:
        import diffrax

        adjoints = (diffrax.RecursiveCheckpointAdjoint(), diffrax.DirectAdjoint(), diffrax.BacksolveAdjoint())
        for each in adjoints:
            name = f"diffrax, {type(each).__name__.removesuffix('Adjoint')}"
            lookaheads[name] = TruncatedSolve(1.0, steps, diffrax.Midpoint(), adjoint=each)
    rows = []
    with jax.enable_x64(True):
        x, exact, exact_gradient = states(n)
        for name, lookahead in lookaheads.items():
            lookahead = lookahead.replace(margin=CLOSEST)  # type: ignore[attr-defined]
            compiled = jax.jit(estimates).lower(lookahead, x, jnp.ones(1)).compile()
            value, gradient = jax.block_until_ready(compiled(lookahead, x, jnp.ones(1)))
            memory = compiled.memory_analysis()
            seconds = []
            for _ in range(repeats):
                start = time.perf_counter()
                jax.block_until_ready(compiled(lookahead, x, jnp.ones(1)))
                seconds.append(time.perf_counter() - start)
            rows.append(
                {
                    "adjoint": name, "evaluations": evaluations(lookahead), "seconds": float(np.min(seconds)),
                    "temporary_bytes": None if memory is None else int(memory.temp_size_in_bytes),
                    **errors(np.asarray(value[0]), gradient[0], exact, exact_gradient),
                }
            )  # fmt: skip
    return rows
