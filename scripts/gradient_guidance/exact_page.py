"""Tables and pictures of the part with exact scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradient_guidance import theory
from gradient_guidance.common import Place, clouds, curves, points, rate, rounds_to
from tfg_jax import report
from tfg_jax.optimise import Optimised
from tfg_jax.optimise.problems import LinearProblem

DELTA = {"theta_1": 0.05, "theta_2": 0.2, "b_1": 1.0, "b_2": 1.0}


@dataclasses.dataclass(frozen=True)
class Found:
    """All that was measured."""

    problem: LinearProblem
    one: Mapping[str, float]  # moments of one round
    runs: Mapping[tuple[str, str, str], Optimised]  # Algorithm 1 by objective, parameter, linearisation
    naive: Optimised
    moved: Mapping[tuple[str, float], Optimised]  # re-centred, by theta and delta
    last: Mapping[str, float]
    spheres: Mapping[str, Mapping[float, Mapping[str, float]]]

    def line(self, which: str) -> theory.Line:
        """The theory of an objective."""
        if which.startswith("b"):
            b = self.problem.b_same if which == "b_1" else self.problem.b_spread
            return theory.distance(self.problem.basis, b)
        return theory.parabola(1.0 if which == "theta_1" else 1.0 / np.sqrt(82.0))


def tail(out: Optimised) -> float:
    """Mean reward of the last tenth of the rounds."""
    reward = out.history["reward"]
    return float(reward[-max(len(reward) // 10, 1) :].mean())


def line_of(out: Optimised, name: str = "reward", until: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A curve by round."""
    values = out.history[name][:until]
    return np.arange(len(values)), values


def figures(place: Place, found: Found) -> None:
    """As the paper's 4, 5 and 9, and the view of the drift."""
    runs, moved, naive = found.runs, found.moved, found.naive
    curves(
        place.picture("off_support"),
        {
            "off-support part, f1, theta_2": {
                "G, delta 0.9": line_of(naive, "off_support"),
                "G_loss, delta 0.2": line_of(runs["f1", "theta_2", "sample"], "off_support"),
                "G_loss, recentred": line_of(moved["theta_2", 0.2], "off_support"),
            }
        },
        "round", "r_off", log=True,
    )  # fmt: skip
    panels: dict[str, Any] = {}
    for theta in ("theta_2", "theta_1"):
        delta, ideal = DELTA[theta], moved[theta, DELTA[theta]]
        one, span = runs["f1", theta, "mean"], len(ideal.history["reward"])
        expected = found.line(theta).rewards(delta, min(span, len(one.history["reward"])) - 1)
        panels[f"f1, {theta}, delta {delta}"] = {
            "Algorithm 1, batch mean": line_of(one, until=span),
            "its theory": (np.arange(len(expected)), expected),
            "recentred (idealised Algorithm 2)": line_of(ideal),
        }
    curves(place.picture("convergence"), panels, "round", "reward")
    panels = {}
    for (f, which, linearise), out in runs.items():
        title = {"f1": "f1 (delta 0.05 and 0.2)", "f2": "f2 (delta 1)"}[f]
        panels.setdefault(title, {})[f"{which}, by {linearise}"] = line_of(out)
    curves(place.picture("algorithm_1"), panels, "round", "reward")
    basis, theta = found.problem.basis, found.problem.theta_across
    inside = basis.T @ theta
    a, b = basis @ (inside / np.linalg.norm(inside)), basis @ np.linalg.svd(inside[None])[2][1]
    across = theta - basis @ inside
    frame = np.stack([a, b, across / np.linalg.norm(across)], 1)
    start = np.random.default_rng(0).standard_normal((32, theory.RANK)) @ basis.T
    views = {
        name: {"data": start @ frame, "last round": np.asarray(out.x) @ frame}
        for name, out in (("G", naive), ("G_loss", runs["f1", "theta_2", "sample"]))
    }
    clouds(place.picture("views"), views, ["along theta, inside", "inside", "across"])


def sphere_figure(place: Place, spheres: Mapping[str, Mapping[float, Mapping[str, float]]]) -> None:
    """As the paper's 11."""
    front = {n: ([v["ratio"] for v in by.values()], [v["reward"] for v in by.values()]) for n, by in spheres.items()}
    points(place.picture("sphere"), front, "|x| - 1", "reward")


def algorithm_1(found: Found) -> list[dict[str, Any]]:
    """Plateaus and rates beside theory."""
    rows = []
    for (f, which, linearise), out in found.runs.items():
        line, delta, plateau = found.line(which), DELTA[which], tail(out)
        optimum, of_batch = line.plateau(delta)
        mean = linearise == "mean"
        expected = line.rewards(delta, out.rounds)
        rows.append(
            {
                "objective": f"{f}, {which}", "linearised at": "batch mean" if mean else "each sample",
                "lambda": out.implicit_lambda, "regularised optimum": optimum,
                "of a batch there": of_batch if mean else None, "last tenth": plateau,
                "independent run": theory.REFERENCE.get(f"{f}, {which}, {linearise}"),
                "rate a round": rate(plateau - out.history["reward"]),
                "theory's": rate(expected[-1] - expected) if mean else None,
                "max r_off": float(out.history["off_support"].max()),
                "last |g| / noise": float(out.history["gradient_over_noise"][-1]),
            }
        )  # fmt: skip
    return rows


def recentred(found: Found) -> list[dict[str, Any]]:
    """Idealised Algorithm 2 by round."""
    rows = []
    for (theta, delta), out in found.moved.items():
        reward = out.history["reward"]
        at = {f"round {k}": float(reward[min(k, out.rounds)]) for k in (50, 100, 300)}
        known = {k: theory.REFERENCE.get(f"recentred, {theta}, {delta}, {k}") for k in at}
        said = [f"{value:g} at {name.split()[1]}" for name, value in known.items() if value is not None]
        rows.append(
            {"objective": f"f1, {theta}", "delta": delta, **at, "independent run": ", ".join(said),
             "first round at 9.9": rounds_to(reward, 9.9), "rate a round": rate(10.0 - reward)}
        )  # fmt: skip
    return rows


def section(place: Place, sizes: Any, seed: int, found: Found) -> None:
    """The part's text and numbers."""
    rows, ideal, naive = algorithm_1(found), recentred(found), found.naive
    names = (("mean along Pg", "mean"), ("variance along Pg", "var"), ("variance beside", "beside"))
    law = [{"quantity": n, "measured": found.one[k], "theory": found.one[f"{k}_theory"]} for n, k in names]
    off = float(naive.history["off_support"][-max(naive.rounds // 10, 1) :].mean())
    text = [
        "## Exact scores\n",
        f"Denoisers known in closed form, float32, seed {seed}: Algorithm 1 for {sizes.rounds} rounds on f1 "
        f"(published: 1000) and {sizes.short} on f2 (as published). *Independent run* is a simulation in float64 that "
        "shares no code with this one, of another draw of the problem, on which f2 depends.\n",
        f"**One round** samples the conditional law (g = 3.7 theta_2, y = 1.3, n = {sizes.one_round}; the rest is "
        "DDPM's own bias at T = 200, which a test sees halve with twice the steps):\n",
        report.markdown_table(law),
        "\n**Algorithm 1** linearised at the batch's mean settles at the regularised optimum "
        "`argmax f(x) - lambda/2 |x|^2` over the subspace, lambda = noise^2 / delta. *Of a batch there* is the mean of "
        "f over samples spread around it. A rate is the factor by which the gap to the plateau shrinks in a round, "
        "fitted from 90 to 10 % of it; theory's is the same fit to the recursion of an infinite batch. Linearised "
        "at each sample there is no such theory: samples whose own |g| is of the order of the noise fall back to the "
        "prior.\n",
        report.markdown_table(rows),
        f"\n![Algorithm 1]({place.picture('algorithm_1').name})\n",
        "\n**Idealised Algorithm 2** (the law re-centred on each batch) has no regulariser; the maximum is 10:\n",
        report.markdown_table(ideal),
        f"\n![convergence]({place.picture('convergence').name})\n",
        f"\n**Off the support.** Naive G (delta 0.9) ends with r_off {off:.3f} and reward {tail(naive):.2f} (means of "
        f"the last tenth; independent run: {theory.REFERENCE['naive, r_off']} and "
        f"{theory.REFERENCE['naive, reward']}). One more round leaves {found.last['found']:.4f} across the subspace "
        f"where `h_1/alpha_1 G_perp` of the last step says {found.last['expected']:.4f} (mean norms; the vectors "
        f"differ by {found.last['difference']:.1e}).\n",
        f"![off support]({place.picture('off_support').name})\n\n![views]({place.picture('views').name})\n",
    ]
    if found.spheres:
        ball = [
            {"delta": d, **{f"{n} {key}": by[d][key] for n, by in found.spheres.items() for key in ("reward", "ratio")}}
            for d in sizes.deltas
        ]
        text += [
            f"\n**Sphere** (exact denoiser by Bessel ratios), batch {sizes.sphere_batch}, {sizes.sphere_rounds} "
            "rounds; ratio is |x| - 1:\n",
            report.markdown_table(ball),
            f"\n![sphere]({place.picture('sphere').name})\n",
        ]
    numbers = {
        "algorithm_1": rows, "recentred": ideal, "one_round": dict(found.one), "naive_r_off": off,
        "naive_reward": tail(naive), "last_step": dict(found.last),
    }  # fmt: skip
    place.write_section(text, numbers)
