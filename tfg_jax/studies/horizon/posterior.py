"""Guided sampling of a mixture's posterior in the plane: how far samples are from exact ones, by method.

Eight linear measurements, each with its exact posterior. Samples of every method are compared with exact samples by the
sliced Wasserstein distance and MMD; every method with a strength has the same six trials of it on other measurements
and another seed, judged by the mean sliced distance. All samplers take the same steps, so rows differ in cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tfg_jax import analytic, metrics
from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.run import end_to_end
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.guidance.tfg import TFG
from tfg_jax.objectives.inverse import gaussian_log_likelihood
from tfg_jax.operators import matrix
from tfg_jax.sample import sample
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.schedules import RectifiedFlow
from tfg_jax.truncated import TruncatedSolve

FLOOR = "exact samples"
MEASURED = ((0.4, 1.0),)
NOISE_STD = 0.3
HORIZONS = (0.25, 0.5, 0.75, 0.9, 1.0)
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
ITERATIONS, SOLVE_STEPS = 20, 8


@dataclass(frozen=True)
class Setup:
    """Sizes of the experiment: samples a measurement, sampler steps, exact samples compared with, measurements."""

    samples: int = 128
    steps: int = 50
    exact: int = 4096
    measurements: int = 8


@dataclass(frozen=True)
class Method:
    """A method by its strengths; ``lookahead`` None is Tweedie."""

    of: Callable[[float], Any]
    strengths: tuple[float, ...] = (1.0,)
    lookahead: TruncatedSolve | None = None
    horizon: float | None = None


def plane_mixture() -> analytic.Mixture:
    """Three correlated modes in the plane; the measurement cannot tell two of them apart."""
    covs = [[[0.12, 0.06], [0.06, 0.08]], [[0.05, -0.02], [-0.02, 0.1]], [[0.15, 0.0], [0.0, 0.05]]]
    return analytic.mixture([0.3, 0.5, 0.2], [[-1.5, 0.5], [0.4, -0.8], [1.6, 1.2]], covs)


def methods() -> dict[str, Method]:
    """The rows, floor and ceiling first."""
    dps = lambda f: DPS(0.1 * f, normalize="residual")  # noqa: E731
    midpoint = TruncatedSolve(1.0, 4, "midpoint")
    rows = {
        "exact conditional score": Method(lambda f: ClassifierGuidance(1.0)),
        "unguided": Method(lambda f: None),
        "DPS (horizon 0)": Method(dps, FACTORS, None, 0.0),
        "TFG": Method(lambda f: TFG(rho=0.1 * f, mu=0.1 * f / 16.0, n_iter=4), FACTORS),
        "PiGDM": Method(lambda f: PiGDM(f, weighting="score"), (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)),
        "two-step Euler": Method(dps, FACTORS, TruncatedSolve(0.5, 1, "euler"), 0.5),
        "midpoint, no tail": Method(dps, FACTORS, TruncatedSolve.whole(1, "midpoint")),
    }
    for horizon in HORIZONS:
        evaluation = midpoint.replace(horizon=horizon)  # type: ignore[attr-defined]
        rows[f"horizon {horizon:g}, 4 midpoint"] = Method(dps, FACTORS, evaluation, horizon)
    source = DFlow(TruncatedSolve(1.0, SOLVE_STEPS, "midpoint"), ITERATIONS, 1.0)
    controls = Controls(SOLVE_STEPS, weight=1.0, iterations=ITERATIONS, solver="midpoint", remat="none")
    rows["DFlow"] = Method(lambda f: source.replace(rate=f), RATES)  # type: ignore[attr-defined]
    rows["Controls"] = Method(lambda f: controls.replace(rate=f), RATES)  # type: ignore[attr-defined]
    return rows


def measurements(seed: int, n: int) -> Float[Array, "n 1"]:
    """Measurements of ``n`` clean samples."""
    key_x, key_y = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**32 - 1))
    denoised = plane_mixture().sample(key_x, n)
    return denoised @ jnp.asarray(MEASURED).T + NOISE_STD * jax.random.normal(key_y, (n, 1))


def exact_samples(y: Float[Array, "n 1"], seed: int, each: int) -> Float[np.ndarray, "n each 2"]:
    """Samples of the exact posterior of every measurement."""
    return np.asarray(_exact_samples(y, jax.random.key(seed), each))


@partial(jax.jit, static_argnames="each")
def _exact_samples(y: Array, key: Array, each: int) -> Array:
    data, A = plane_mixture(), jnp.asarray(MEASURED)
    draw = lambda y, key: data.posterior(A, y, NOISE_STD).sample(key, each)  # noqa: E731
    return jax.vmap(draw)(y, jax.random.split(key, len(y)))


def method_samples(
    method: Method, strength: float, y: Float[Array, "n 1"], seed: int, setup: Setup
) -> tuple[Float[np.ndarray, "n m 2"], int, float]:
    """Samples of every measurement, how many failed, and network evaluations of one."""
    data = plane_mixture()
    model, own = data.denoiser(RectifiedFlow(), "velocity"), method.of(strength)
    target = jnp.repeat(y, setup.samples, axis=0)
    objective: Any = gaussian_log_likelihood(matrix(MEASURED), NOISE_STD)
    if isinstance(own, ClassifierGuidance):
        objective = analytic.conditional_objective(jnp.asarray(MEASURED), NOISE_STD, data)
    key, n = jax.random.key(seed), len(target)
    if isinstance(own, DFlow | Controls):
        out = end_to_end(key, model, own, objective=objective, target=target, num_samples=n)
    else:
        guided: Mapping[str, Any] = {"objective": objective, "target": target, "guidance": own}
        out = sample(
            key, model, num_samples=n, lookahead=method.lookahead, sampler=DDIM(setup.steps),
            **({} if own is None else guided),
        )  # fmt: skip
    ok = np.asarray(out.status.ok)
    evaluations = float(np.mean(np.asarray(out.cost.forwards) + np.asarray(out.cost.pullbacks)))
    x = np.where(ok[:, None], np.asarray(out.x), np.nan)
    return x.reshape(len(y), setup.samples, 2), int((~ok).sum()), evaluations


def distances(
    x: Float[np.ndarray, "n m 2"], exact: Float[np.ndarray, "n k 2"], mmd: bool = True
) -> dict[str, list[float]]:
    """Sliced Wasserstein distance, and MMD, of each measurement, without failed samples; infinite if all failed."""
    found: dict[str, list[float]] = {"sliced_w2": [], "mmd": []}
    for mine, theirs in zip(x, exact, strict=True):
        mine = mine[np.isfinite(mine).all(axis=1)]
        if len(mine) < 2:
            found["sliced_w2"].append(np.inf)
            continue
        found["sliced_w2"].append(metrics.sliced_wasserstein(mine, theirs, resamples=2).value)
        if mmd:
            found["mmd"].append(metrics.mmd(mine, theirs[:1024], resamples=2).value)
    return found


def posterior_numbers(name: str, setup: Setup, strength: float, trial: bool) -> dict[str, Any]:
    """Distances of a method's samples at a strength; a trial is on other measurements and another seed."""
    seed = int(trial)
    y = measurements(seed, setup.measurements)
    exact = exact_samples(y, 12 if trial else 10, setup.exact)
    if name == FLOOR:
        x, failed, evaluations = exact_samples(y, 11, setup.samples), 0, 0.0
    else:
        x, failed, evaluations = method_samples(methods()[name], strength, y, seed, setup)
    numbers = {"strength": strength, "evaluations": evaluations, "failed": failed, **distances(x, exact, not trial)}
    return numbers | ({"score": -float(np.mean(numbers["sliced_w2"]))} if trial else {})
