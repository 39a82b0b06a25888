"""Tables and pictures of the part with exact scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradient_guidance import distributions
from gradient_guidance.common import Missing, ResultFolder, clouds, curves, points, rate, rounds_to
from gradient_guidance.problems import LinearProblem
from tfg_jax import report
from tfg_jax.optimize import Optimized

NOISE = 0.1
DELTA = {"theta_1": 0.05, "theta_2": 0.2, "b_1": 1.0, "b_2": 1.0}
REFERENCE = {
    "f1, theta_1, mean": 9.880, "f1, theta_1, sample": 7.24, "f1, theta_2, mean": 5.946, "f1, theta_2, sample": 5.927,
    "f2, b_1, mean": -8.65, "f2, b_1, sample": -9.14, "f2, b_2, mean": -10.29, "naive, reward": 1.91,
    "naive, r_off": 0.034, "recentred, theta_2, 0.2, round 50": 9.97, "recentred, theta_2, 0.2, round 100": 10.0,
    "recentred, theta_1, 0.05, round 300": 9.963, "recentred, theta_2, 0.05, round 300": 10.0,
}  # fmt: skip
"""From another implementation with exact scores in float64, on another draw of A, theta and b."""


@dataclasses.dataclass(frozen=True)
class Results:
    """All that was measured."""

    problem: LinearProblem
    runs: dict[tuple[str, str, str], Optimized] = dataclasses.field(default_factory=dict)  # Algorithm 1
    moved: dict[tuple[str, float], Optimized] = dataclasses.field(default_factory=dict)  # re-centred, theta and delta
    naive: dict[str, Optimized] = dataclasses.field(default_factory=dict)
    spheres: dict[tuple[str, float], dict[str, float]] = dataclasses.field(default_factory=dict)
    numbers: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)  # one round, the last step
    missing: list[str] = dataclasses.field(default_factory=list)  # what was not on disk

    @contextmanager
    def or_missing(self) -> Iterator[None]:
        """Notes a run that is not on disk and goes on without it."""
        try:
            yield
        except Missing as run:
            self.missing.append(str(run))

    def distribution(
        self, which: str, rounds: int, *, linearize: str, recentre: bool = False
    ) -> tuple[float, np.ndarray]:
        """f at the regularized optimum, and rewards of batches drawn from exact distributions without a diffusion
        model."""
        p = self.problem
        theta = {"theta_1": p.theta_in, "theta_2": p.theta_across}.get(which)
        b = p.b_same if which == "b_1" else p.b_spread
        f = distributions.distance(p.basis, b) if theta is None else distributions.parabola(p.basis, theta)
        delta = DELTA[which]
        drawn = distributions.rewards(p.basis, f, delta, rounds, linearize=linearize, recentre=recentre)
        return f.optimum(NOISE**2 / delta), drawn


def tail(reward: np.ndarray) -> float:
    """Mean of the last tenth of the rounds."""
    return float(reward[-max(len(reward) // 10, 1) :].mean())


def line_of(out: Optimized, name: str = "reward", until: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A curve by round."""
    values = out.history[name][:until]
    return np.arange(len(values)), values


def figures(results: ResultFolder, found: Results) -> None:
    """As the paper's 4, 5, 9 and 11, and the view of the drift; of what there is."""
    runs, moved = found.runs, found.moved
    off = {"G, delta 0.9": found.naive.get("naive"), "G_loss, delta 0.2": runs.get(("f1", "theta_2", "sample")),
           "G_loss, recentred": moved.get(("theta_2", 0.2))}  # fmt: skip
    lines = {name: line_of(out, "off_support") for name, out in off.items() if out is not None}
    curves(results.picture("off_support"), {"off-support part, f1, theta_2": lines}, "round", "r_off", log=True)
    panels: dict[str, Any] = {}
    for theta in ("theta_2", "theta_1"):
        delta = DELTA[theta]
        one, ideal = runs.get(("f1", theta, "mean")), moved.get((theta, delta))
        span = 300 if ideal is None else ideal.rounds + 1
        panel = panels.setdefault(f"f1, {theta}, delta {delta}", {})
        if one is not None:
            drawn = found.distribution(theta, min(span, one.rounds), linearize="mean")[1]
            panel |= {"Algorithm 1, batch mean": line_of(one, until=span)}
            panel |= {"drawn from exact distributions": (np.arange(len(drawn)), drawn)}
        if ideal is not None:
            panel["recentred (idealised Algorithm 2)"] = line_of(ideal)
    curves(results.picture("convergence"), panels, "round", "reward")
    panels = {}
    for (f, which, linearize), out in runs.items():
        title = {"f1": "f1 (delta 0.05 and 0.2)", "f2": "f2 (delta 1)"}[f]
        panels.setdefault(title, {})[f"{which}, by {linearize}"] = line_of(out)
    if panels:
        curves(results.picture("algorithm_1"), panels, "round", "reward")
    views = {name: out for name, out in list(off.items())[:2] if out is not None}
    if views:
        drift(results, found, views)
    if found.spheres:
        front = {
            name: tuple([v[key] for (n, _), v in found.spheres.items() if n == name] for key in ("ratio", "reward"))
            for name in ("G", "G_loss")
        }
        points(results.picture("sphere"), front, "|x| - 1", "reward")


def drift(results: ResultFolder, found: Results, outs: Mapping[str, Optimized]) -> None:
    """The last batches in three dimensions, one of them across the subspace."""
    basis, theta = found.problem.basis, found.problem.theta_across
    inside = basis.T @ theta
    a, b = basis @ (inside / np.linalg.norm(inside)), basis @ np.linalg.svd(inside[None])[2][1]
    across = theta - basis @ inside
    frame = np.stack([a, b, across / np.linalg.norm(across)], 1)
    start = np.random.default_rng(0).standard_normal((32, basis.shape[1])) @ basis.T
    views = {
        name: {"data": start @ frame, "last round": np.asarray(out.x) @ frame} for name, out in outs.items()
    }  # fmt: skip
    clouds(results.picture("views"), views, ["along theta, inside", "inside", "across"])


def algorithm_1(found: Results) -> list[dict[str, Any]]:
    """Plateaus and rates beside those of exact distributions."""
    rows = []
    for (f, which, linearize), out in found.runs.items():
        reward = out.history["reward"]
        optimum, drawn = found.distribution(which, out.rounds, linearize=linearize)
        rows.append(
            {
                "objective": f"{f}, {which}", "linearized at": "batch mean" if linearize == "mean" else "each sample",
                "lambda": out.implicit_lambda, "regularized optimum": optimum, "last tenth": tail(reward),
                "exact distributions": tail(drawn), "another code": REFERENCE.get(f"{f}, {which}, {linearize}"),
                "rate": rate(tail(reward) - reward), "rate, exact distributions": rate(tail(drawn) - drawn),
                "max r_off": float(out.history["off_support"].max()),
                "last |g| / noise": float(out.history["gradient_over_noise"][-1]),
            }
        )  # fmt: skip
    return rows


def recentred(found: Results) -> list[dict[str, Any]]:
    """Idealised Algorithm 2 by round."""
    rows = []
    for (theta, delta), out in found.moved.items():
        reward = out.history["reward"]
        at = {f"round {k}": float(reward[min(k, out.rounds)]) for k in (50, 100, 300)}
        known = {k: REFERENCE.get(f"recentred, {theta}, {delta}, {k}") for k in at}
        said = [f"{value:g} at {name.split()[1]}" for name, value in known.items() if value is not None]
        rows.append(
            {"objective": f"f1, {theta}", "delta": delta, **at, "another code": ", ".join(said),
             "last tenth": tail(reward), "worst of it": float(reward[-max(len(reward) // 10, 1) :].min()),
             "first round at 9.9": rounds_to(reward, 9.9), "rate": rate(10.0 - reward)}
        )  # fmt: skip
    return rows


def section(results: ResultFolder, sizes: Any, seed: int, found: Results) -> None:
    """The part's text and numbers, of what there is."""
    rows, ideal = algorithm_1(found), recentred(found)
    show = lambda name: f"\n![{name.replace('_', ' ')}]({results.picture(name).name})\n"  # noqa: E731
    text = [
        "## Exact scores\n",
        f"Denoisers known in closed form, float32, seed {seed}: Algorithm 1 for {sizes.rounds} rounds on f1 "
        f"(published: 1000) and {sizes.short} on f2 (as published). *Exact distributions* are batches drawn in NumPy "
        "from the distribution that an exact score samples, without a diffusion model, on the same problem; "
        "*another code* is "
        "another implementation in float64 on another draw of A, theta and b, on which f2 depends.\n",
    ]
    if found.missing:
        text.append(f"Not run yet (`--part exact`): {', '.join(found.missing)}.\n")
    if "one" in found.numbers:
        one = found.numbers["one"]
        names = (("mean along Pg", "mean"), ("variance along Pg", "var"), ("variance beside", "beside"))
        text += [
            f"**One round** samples the conditional distribution (g = 3.7 theta_2, y = 1.3, n = {sizes.one_round}; the "
            "rest is DDPM's own bias at T = 200, which a test sees halve with twice the steps):\n",
            report.markdown_table(
                [{"quantity": n, "measured": one[k], "theory": one[f"{k}_theory"]} for n, k in names]
            ),
        ]
    if rows:
        text += [
            "\n**Algorithm 1** linearized at the batch's mean has a fixed point at the regularized optimum "
            "`argmax f(x) - lambda/2 |x|^2` over the subspace, lambda = noise^2 / delta. A rate is the factor by which "
            "the gap to the plateau shrinks in a round, fitted from 90 to 10 % of it. Linearized at each sample there "
            "is no such optimum: a sample whose own |g| is of the order of the noise falls back to the prior.\n",
            report.markdown_table(rows),
            show("algorithm_1"),
        ]
    if ideal:
        text += [
            "\n**Idealised Algorithm 2** (the distribution re-centred on each batch) has no regularizer; the "
            "maximum is 10:\n",
            report.markdown_table(ideal),
            show("convergence"),
        ]
    numbers: dict[str, Any] = {"algorithm_1": rows, "recentred": ideal, **found.numbers}
    text += off_support(found, numbers)
    if found.naive or ("f1", "theta_2", "sample") in found.runs:
        text += [show("off_support"), show("views")]
    if found.spheres:
        deltas = dict.fromkeys(delta for _, delta in found.spheres)
        ball = [
            {"delta": d, **{f"{n} {key}": found.spheres.get((n, d), {}).get(key) for n in ("G", "G_loss")
                            for key in ("reward", "ratio")}}
            for d in deltas
        ]  # fmt: skip
        text += [
            f"\n**Sphere** (exact denoiser by Bessel ratios), {sizes.sphere_rounds} rounds of {sizes.sphere_batch} "
            "(published: 256); ratio is |x| - 1:\n",
            report.markdown_table(ball),
            show("sphere"),
        ]
    results.write_section(text, numbers)


def off_support(found: Results, numbers: dict[str, Any]) -> list[str]:
    """What naive guidance leaves across the subspace; its numbers are added to ``numbers``."""
    if "naive" not in found.naive:
        return []
    naive, last = found.naive["naive"], found.numbers.get("last")
    off, stuck = tail(naive.history["off_support"]), tail(naive.history["reward"])
    numbers |= {"naive_r_off": off, "naive_reward": stuck}
    text = (
        f"\n**Off the support.** Naive G (delta 0.9) ends with r_off {off:.3f} and reward {stuck:.2f} (means of the "
        f"last tenth; another code: {REFERENCE['naive, r_off']} and {REFERENCE['naive, reward']})."
    )
    if last is not None:
        text += (
            f" One more round leaves {last['found']:.4f} across the subspace, where `h_1/alpha_1 G_perp` of the last "
            f"step says {last['expected']:.4f} (mean norms; the vectors differ by {last['difference']:.1e})."
        )
    return [text + "\n"]
