"""Exact scores: fixed points, plateaus and off-support parts against their closed forms; the sphere."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from gradient_guidance.common import Place, clouds, curves, load, points, rate, rounds_to
from tfg_jax import optimise, report
from tfg_jax.optimise import problems

NAIVE, LOOK = tfg.NaiveGradientGuidance(), tfg.GradientGuidance()
NOISE = 0.1


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run; the defaults are the published ones but for `one_round` (40,000 in the reference numbers)."""

    rounds: int = 1000
    recentred: int = 200
    short: int = 50
    one_round: int = 10_000
    steps: int = 200
    sphere_batch: int = 256
    sphere_rounds: int = 25
    deltas: tuple[float, ...] = (0.02, 0.1, 0.2, 0.52)


TINY = Sizes(rounds=6, recentred=4, short=3, one_round=50, steps=4, sphere_batch=8, sphere_rounds=2, deltas=(0.1, 0.2))


def run(place: Place, sizes: Sizes, seed: int) -> None:
    """All of the exact part."""
    problem = problems.linear_problem(seed=seed)
    table = tfg.from_alphas_cumprod(tfg.cosine_table(sizes.steps))
    model, sampler = problem.model(table), tfg.DDPM(steps=sizes.steps)
    basis = jnp.asarray(problem.basis, jnp.float32)
    f1 = {"theta_1": problems.parabola(problem.theta_in), "theta_2": problems.parabola(problem.theta_across)}
    f2 = {"b_1": problems.distance(problem.b_same), "b_2": problems.distance(problem.b_spread)}

    def go(name: str, objective: Any, rounds: int, delta: float, **options: Any) -> optimise.Optimised:
        return place.iterate(
            name, seed, model, objective, rounds=rounds, batch=32, delta=delta, sampler=sampler, basis=basis, **options
        )

    one = load(place.runs / place.part / "one_round.json", lambda: one_round(problem, model, sampler, sizes, seed))
    runs = {}
    for linearise in ("mean", "sample"):
        how = {"linearise": linearise}
        runs["f1", "theta_2", linearise] = go(f"f1-theta_2-{linearise}", f1["theta_2"], sizes.rounds, 0.2, **how)
        runs["f1", "theta_1", linearise] = go(f"f1-theta_1-{linearise}", f1["theta_1"], sizes.rounds, 0.05, **how)
        for b, objective in f2.items():
            runs["f2", b, linearise] = go(f"f2-{b}-{linearise}", objective, sizes.short, 1.0, **how)
    naive = go("naive-f1-theta_2", f1["theta_2"], sizes.rounds, 0.9, guidance=NAIVE)
    moved = {
        (theta, delta): go(
            f"recentred-{theta}-{delta}", f1[theta], sizes.recentred, delta, linearise="mean",
            adapt=optimise.Recentre(),
        )
        for theta, delta in (("theta_2", 0.2), ("theta_1", 0.05), ("theta_2", 0.05))
    }  # fmt: skip
    seconds = load(place.runs / place.part / "seconds.json", lambda: timing(problem, model, sampler, f1["theta_2"]))
    figures(place, problem, runs, naive, moved)
    section(place, sizes, seed, one, runs, naive, moved, {}, seconds)
    spheres = sphere_runs(place, sizes, seed)
    points(
        place.picture("sphere"),
        {
            name: ([v["ratio"] for v in by_delta.values()], [v["reward"] for v in by_delta.values()])
            for name, by_delta in spheres.items()
        },
        "|x| - 1",
        "reward",
    )
    section(place, sizes, seed, one, runs, naive, moved, spheres, seconds)


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


def regularised(t: float, lam: float) -> float:
    """f1 at the regularised optimum along a direction of which ``t`` lies inside."""
    return 10.0 - (t * 6.0 * t / (2.0 * t * t + lam) - 3.0) ** 2


def sphere_runs(place: Place, sizes: Sizes, seed: int) -> dict[str, dict[float, dict[str, float]]]:
    """Reward and radius after the last round, by guidance and delta."""
    model = problems.sphere(64, tfg.from_alphas_cumprod(tfg.cosine_table(sizes.steps)))
    theta = np.random.default_rng(seed).standard_normal(64)
    objective = problems.along(theta / np.linalg.norm(theta))
    found: dict[str, dict[float, dict[str, float]]] = {}
    for name, guidance in (("G", NAIVE), ("G_loss", LOOK)):
        found[name] = {}
        for delta in sizes.deltas:
            out = place.iterate(
                f"sphere-{name}-{delta}", seed, model, objective, rounds=sizes.sphere_rounds, batch=sizes.sphere_batch,
                delta=delta, sampler=tfg.DDPM(steps=sizes.steps), guidance=guidance,
            )  # fmt: skip
            radius = np.linalg.norm(np.asarray(out.x), axis=1)
            found[name][delta] = {"reward": float(out.history["reward"][-1]), "ratio": float((radius - 1.0).mean())}
    return found


def timing(problem: Any, model: Any, sampler: Any, objective: Any) -> dict[str, float]:
    """Seconds of a compiled round of 32 samples: unguided, guided, and a whole round of the loop."""

    def clock(call: Any) -> float:
        call()
        times = []
        for _ in range(5):
            since = time.perf_counter()
            call()
            times.append(time.perf_counter() - since)
        return float(np.median(times))

    key, g = jax.random.key(0), jnp.broadcast_to(jnp.asarray(problem.theta_across, jnp.float32), (32, 64))
    target = (g, jnp.ones(32))
    plain = clock(lambda: tfg.sample(key, model, num_samples=32, sampler=sampler).x.block_until_ready())
    guided = {
        name: clock(
            lambda guidance=guidance: tfg.sample(
                key, model, guidance=guidance, objective=tfg.objectives.linear(), target=target, sampler=sampler
            ).x.block_until_ready()
        )
        for name, guidance in (("G", NAIVE), ("G_loss", LOOK))
    }
    whole = optimise.iterate(key, model, objective, rounds=12, batch=32, delta=0.2, sampler=sampler)
    return {"unguided": plain, **guided, "round": float(np.median(whole.history["seconds"][2:]))}


def figures(place: Place, problem: Any, runs: dict, naive: Any, moved: dict) -> None:
    """Figures 4, 5 and 9, and the view of the drift."""
    look = runs["f1", "theta_2", "sample"].history
    rounds = np.arange(len(look["reward"]))
    panels: dict[str, Any] = {
        "off-support part, f1, theta_2": {
            "G, delta 0.9": (np.arange(len(naive.history["reward"])), naive.history["off_support"]),
            "G_loss, delta 0.2": (rounds, look["off_support"]),
            "G_loss, recentred": (
                np.arange(len(moved["theta_2", 0.2].history["reward"])),
                moved["theta_2", 0.2].history["off_support"],
            ),
        }
    }
    curves(place.picture("off_support"), panels, "round", "r_off", log=True)
    both = moved["theta_2", 0.2].history["reward"]
    one = runs["f1", "theta_2", "mean"].history["reward"]
    inside, one_in = moved["theta_1", 0.05].history["reward"], runs["f1", "theta_1", "mean"].history["reward"]
    span = len(both)
    curves(
        place.picture("convergence"),
        {
            "f1, theta_2, delta 0.2": {
                "Algorithm 1": (np.arange(min(span, len(one))), one[:span]),
                "recentred (idealised Algorithm 2)": (np.arange(span), both),
            },
            "f1, theta_1, delta 0.05": {
                "Algorithm 1": (np.arange(len(one_in)), one_in),
                "recentred (idealised Algorithm 2)": (np.arange(len(inside)), inside),
            },
        },
        "round",
        "reward",
    )
    panels = {}
    for (f, which, linearise), out in runs.items():
        title = {"f1": "f1 (delta 0.05 and 0.2)", "f2": "f2 (delta 1)"}[f]
        reward = out.history["reward"]
        panels.setdefault(title, {})[f"{which}, by {linearise}"] = (np.arange(len(reward)), reward)
    curves(place.picture("algorithm_1"), panels, "round", "reward")
    inside_axis = problem.basis.T @ problem.theta_across
    a = problem.basis @ (inside_axis / np.linalg.norm(inside_axis))
    b = problem.basis @ np.linalg.svd(inside_axis[None])[2][1]
    across = problem.theta_across - problem.basis @ inside_axis
    frame = np.stack([a, b, across / np.linalg.norm(across)], 1)
    start = np.random.default_rng(0).standard_normal((32, 16)) @ problem.basis.T
    views = {
        "G": {"data": start @ frame, "last round": np.asarray(naive.x) @ frame},
        "G_loss": {"data": start @ frame, "last round": np.asarray(runs["f1", "theta_2", "sample"].x) @ frame},
    }
    clouds(place.picture("views"), views, ["along theta, inside", "inside", "across"])


def section(
    place: Place, sizes: Sizes, seed: int, one: dict, runs: dict, naive: Any, moved: dict, spheres: dict, seconds: dict
) -> None:
    """Tables and pictures of the part."""
    t = {"theta_1": 1.0, "theta_2": 1.0 / np.sqrt(82.0)}
    rows, numbers = [], {}
    for (f, which, linearise), out in runs.items():
        reward = out.history["reward"]
        tail = reward[-max(len(reward) // 10, 1) :]
        theory = regularised(t[which], out.implicit_lambda) if f == "f1" else None
        # A plateau that theory knows: the gap to it; one that it does not: to the last rounds.
        numbers["-".join((f, which, linearise))] = float(tail.mean())
        rows.append(
            {
                "objective": f"{f}, {which}", "linearised at": "batch mean" if linearise == "mean" else "each sample",
                "lambda = noise^2/delta": out.implicit_lambda, "regularised optimum": theory,
                "mean of the last tenth": float(tail.mean()), "best sample": float(out.history["reward_best"].max()),
                "fitted rate a round": rate(tail.mean() - reward), "r_off": float(out.history["off_support"].max()),
                "last |g| / noise": float(out.history["gradient_over_noise"][-1]),
            }
        )  # fmt: skip
    ideal = [
        {
            "objective": f"f1, {theta}, delta {delta}", "last": float(out.history["reward"][-1]),
            "round 50": float(out.history["reward"][min(50, out.rounds)]),
            "round 100": float(out.history["reward"][min(100, out.rounds)]),
            "first round at 9.9": rounds_to(out.history["reward"], 9.9),
            "fitted rate a round": rate(10.0 - out.history["reward"]),
        }
        for (theta, delta), out in moved.items()
    ]  # fmt: skip
    ball = [] if not spheres else [
        {"delta": delta, **{f"{name} {key}": values[key] for name, by in spheres.items() for key, values in
                            [(k, by[delta]) for k in ("reward", "ratio")]}}
        for delta in sizes.deltas
    ]  # fmt: skip
    law = [
        {"quantity": name, "measured": one[key], "theory": one[f"{key}_theory"]}
        for name, key in (("mean along Pg", "mean"), ("variance along Pg", "var"), ("variance beside", "beside"))
    ]
    off = float(naive.history["off_support"][-1])
    stuck = float(naive.history["reward"][-max(len(naive.history["reward"]) // 10, 1) :].mean())
    text = [
        "## Exact scores\n",
        f"Denoisers known in closed form, float32, seed {seed}: Algorithm 1 for {sizes.rounds} rounds on f1 "
        f"(published: 1000) and {sizes.short} on f2 (as published).\n",
        f"**One round** samples the conditional law (n = {sizes.one_round}; DDPM's own bias is the rest):\n",
        report.markdown_table(law),
        "\n**Algorithm 1** plateaus at the regularised optimum `argmax f(x) - lambda/2 |x|^2` when linearised at the "
        "batch's mean; at each sample it loses what fades where |g| is of the order of the noise:\n",
        report.markdown_table(rows),
        f"\n![Algorithm 1]({place.picture('algorithm_1').name})\n",
        "\n**Idealised Algorithm 2** (the law re-centred on each batch) has no regulariser and reaches the maximum, "
        "10:\n",
        report.markdown_table(ideal),
        f"\n![convergence]({place.picture('convergence').name})\n",
        f"\n**Off the support.** G_loss stays inside to round-off. Naive G (delta 0.9) ends with r_off {off:.3f} and "
        f"reward {stuck:.2f}: with an exact score it does not blow up, its last step leaves `h_1/alpha_1 G_perp`, and "
        "its |g| in place of |Pg| makes it weak.\n",
        f"![off support]({place.picture('off_support').name})\n\n![views]({place.picture('views').name})\n",
    ]
    if spheres:
        text += [
            f"\n**Sphere** (exact denoiser by Bessel ratios), batch {sizes.sphere_batch}, {sizes.sphere_rounds} "
            "rounds; ratio is |x| - 1:\n",
            report.markdown_table(ball),
            f"\n![sphere]({place.picture('sphere').name})\n",
        ]
    text.append(
        "\n**Runtime** of a round of 32 samples against unguided sampling (an exact denoiser, so the loop's own cost; "
        f"medians on a busy two-core machine): unguided {seconds['unguided']:.3f} s, G {seconds['G']:.3f} s, G_loss "
        f"{seconds['G_loss']:.3f} s, whole round {seconds['round']:.3f} s.\n"
    )
    numbers |= {"naive_r_off": off, "naive_reward": stuck, **{f"one_round_{k}": v for k, v in one.items()}}
    numbers |= {f"recentred-{theta}-{delta}": float(o.history["reward"][-1]) for (theta, delta), o in moved.items()}
    place.write_section(text, {**numbers, "seconds": seconds})
