"""Exact scores: fixed points, plateaus and off-support parts against their closed forms; the sphere."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from gradient_guidance import problems
from gradient_guidance.common import ResultFolder
from gradient_guidance.exact_page import DELTA, NOISE, Results, figures, section
from tfg_jax import optimize

NAIVE, LOOK = tfg.NaiveGradientGuidance(), tfg.GradientGuidance()


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run; the defaults are the published ones."""

    rounds: int = 1000
    recentred: int = 300
    short: int = 50
    one_round: int = 40_000
    steps: int = 200
    sphere_batch: int = 256
    sphere_rounds: int = 25
    deltas: tuple[float, ...] = (0.02, 0.1, 0.2, 0.52)


TINY = Sizes(rounds=6, recentred=4, short=3, one_round=50, steps=4, sphere_batch=8, sphere_rounds=2, deltas=(0.1, 0.2))


def run(results: ResultFolder, sizes: Sizes, seed: int) -> None:
    """All of the exact part."""
    problem = problems.linear_problem(seed=seed)
    table = tfg.from_alphas_cumprod(tfg.cosine_table(sizes.steps))
    model, sampler = problem.model(table), tfg.DDPM(steps=sizes.steps)
    basis = jnp.asarray(problem.basis, jnp.float32)
    f1 = {"theta_1": problems.parabola(problem.theta_in), "theta_2": problems.parabola(problem.theta_across)}
    f2 = {"b_1": problems.distance(problem.b_same), "b_2": problems.distance(problem.b_spread)}

    def go(name: str, objective: Any, rounds: int, delta: float, **options: Any) -> optimize.Optimized:
        return results.iterate(
            name, seed, model, objective, rounds=rounds, batch=32, delta=delta, sampler=sampler, basis=basis, **options
        )

    found = Results(problem)

    with found.or_missing():
        found.numbers["one"] = results.load("one_round", lambda: one_round(problem, model, sampler, sizes, seed))
    for linearize in ("mean", "sample"):
        for f, chosen, rounds in (("f1", f1, sizes.rounds), ("f2", f2, sizes.short)):
            for which, objective in chosen.items():
                with found.or_missing():
                    found.runs[f, which, linearize] = go(
                        f"{f}-{which}-{linearize}", objective, rounds, DELTA[which], linearize=linearize
                    )
    for theta, delta in (("theta_2", 0.2), ("theta_1", 0.05), ("theta_2", 0.05)):
        with found.or_missing():
            found.moved[theta, delta] = go(
                f"recentred-{theta}-{delta}", f1[theta], sizes.recentred, delta, linearize="mean",
                adapt=optimize.Recentre(),
            )  # fmt: skip
    with found.or_missing():
        naive = go("naive-f1-theta_2", f1["theta_2"], sizes.rounds, 0.9, guidance=NAIVE)
        found.naive["naive"] = naive
        step = lambda: last_step(problem, model, sampler, f1["theta_2"], naive.x, 0.9)  # noqa: E731
        found.numbers["last"] = results.load("last_step", step)
    sphere_runs(results, sizes, seed, found)
    figures(results, found)
    section(results, sizes, seed, found)


def one_round(problem: Any, model: Any, sampler: Any, sizes: Sizes, seed: int) -> dict[str, float]:
    """Moments of one guided round against ``p(x_0 | g^T x_0 + noise = y)``."""
    g, y, n = 3.7 * problem.theta_across, 1.3, sizes.one_round
    x = tfg.sample(
        jax.random.key(seed), model, objective=tfg.objectives.linear(), guidance=LOOK, sampler=sampler, chunk=1000,
        target=(jnp.broadcast_to(jnp.asarray(g, jnp.float32), (n, len(g))), jnp.full(n, y)),
    ).x  # fmt: skip
    u, g_in = np.asarray(x, np.float64) @ problem.basis, problem.basis.T @ g
    size = float(np.linalg.norm(g_in))
    along = u @ g_in / size
    beside = u - np.outer(along, g_in / size)
    return {
        "mean": float(along.mean()), "mean_theory": size * y / (NOISE**2 + size**2),
        "var": float(along.var()), "var_theory": NOISE**2 / (NOISE**2 + size**2),
        "beside": float(beside.var(axis=0).sum() / (len(g_in) - 1)), "beside_theory": 1.0,
    }  # fmt: skip


def last_step(problem: Any, model: Any, sampler: Any, objective: Any, x: Any, delta: float) -> dict[str, float]:
    """Naive guidance: what one more round leaves off the support, against ``h_1 / noise^2 (y - g^T x) g_perp``.

    That is ``h_1 / alpha_1 G_perp`` of the last step, with its gap ``y - g^T x0`` told from the sample it gives.
    """
    g = jax.vmap(jax.grad(objective), (0, None))(jnp.asarray(x), None)
    y = delta + jnp.sum(g * x, axis=1)
    made = tfg.sample(
        jax.random.key(0), model, objective=tfg.objectives.linear(), target=(g, y), guidance=NAIVE, sampler=sampler
    ).x  # fmt: skip
    g, y, made = (np.asarray(a, np.float64) for a in (g, y, made))
    across = np.eye(len(problem.basis)) - problem.basis @ problem.basis.T
    level = model.schedule.level(1.0 / sampler.steps)
    gap = (y - np.sum(g * made, axis=1))[:, None]
    expected = float(level.sigma) ** 2 / NOISE**2 * gap * (g @ across)
    found = made @ across
    return {
        "found": float(np.linalg.norm(found, axis=1).mean()),
        "expected": float(np.linalg.norm(expected, axis=1).mean()),
        "difference": float(np.linalg.norm(found - expected, axis=1).mean()),
    }


def sphere_runs(results: ResultFolder, sizes: Sizes, seed: int, found: Results) -> None:
    """Reward and radius after the last round, by guidance and delta."""
    model = problems.sphere(64, tfg.from_alphas_cumprod(tfg.cosine_table(sizes.steps)))
    theta = np.random.default_rng(seed).standard_normal(64)
    objective = problems.along(theta / np.linalg.norm(theta))

    def one(name: str, guidance: Any, delta: float) -> dict[str, float]:
        out = results.iterate(
            f"sphere-{name}-{delta}", seed, model, objective, rounds=sizes.sphere_rounds, batch=sizes.sphere_batch,
            delta=delta, sampler=tfg.DDPM(steps=sizes.steps), guidance=guidance,
        )  # fmt: skip
        radius = np.linalg.norm(np.asarray(out.x), axis=1)
        return {"reward": float(out.history["reward"][-1]), "ratio": float((radius - 1.0).mean())}

    for name, guidance in (("G", NAIVE), ("G_loss", LOOK)):
        for delta in sizes.deltas:
            with found.or_missing():
                found.spheres[name, delta] = one(name, guidance, delta)
