"""Searches: the default strategy against the published one, at equal network evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from tfg_jax.search import Aim, Beam, Halving, Search, Space
from tfg_jax.search.run import run as run_search

START = tfg.TFG(rho=0.25, mu=0.25, smoothing=0.001)
AXES = ("rho", "mu", "smoothing=0.001,0.01,0.1,1")
"""The published search's start, factors and ends."""
NOISE = 1.0
"""Standard deviation of the sums that were measured."""
REPEATS, STEPS, SAMPLES = 5, 5, 16
"""Searches by each strategy; of images sampling steps and samples of a full trial (published: 50, and 32 or 64)."""


@tfg.struct.dataclass
class Posterior(tfg.tasks.Task):
    """A Gaussian in four dimensions, of which two sums were measured: samples should have its exact posterior."""

    model: Any
    operator: Any
    measured: Any
    mean: Any
    covariance: Any
    sampler: Any = tfg.DDIM(steps=10)
    clip: Any = None
    lookahead: Any = None
    window: Any = None

    def objective(self, method: Any) -> Any:
        """The log-likelihood."""
        return tfg.objectives.gaussian_log_likelihood(Sums(self.operator), NOISE)

    def targets(self, n: int) -> np.ndarray:
        """One measurement."""
        return np.tile(np.asarray(self.measured), (n, 1))

    def evaluate(self, samples: Any, **rest: Any) -> Any:
        """Nats from the samples' Gaussian to the posterior, with an interval by the bootstrap."""
        x = np.asarray(samples["x"], np.float64)
        picks = np.random.default_rng(0).integers(len(x), size=(200, len(x)))
        low, high = np.quantile([self._nats(x[pick]) for pick in picks], [0.025, 0.975])
        value = self._nats(x)
        numbers = {"samples": len(x), "nats": value, "nats_low": min(low, value), "nats_high": max(high, value)}
        return tfg.tasks.Evaluation({}, lambda: numbers)

    def _nats(self, x: np.ndarray) -> float:
        inverse, off = np.linalg.inv(self.covariance), x.mean(0) - np.asarray(self.mean)
        own = np.cov(x.T) + 1e-3 * np.eye(x.shape[1])
        logs = np.linalg.slogdet(own)[1] - np.linalg.slogdet(np.asarray(self.covariance))[1]
        return float(0.5 * (np.trace(inverse @ own) - x.shape[1] + off @ inverse @ off - logs))


@tfg.struct.dataclass
class Sums:
    """Linear sums of a sample."""

    weights: Any

    def __call__(self, x: Any) -> Any:
        return self.weights @ x


def posterior() -> Posterior:
    """The first task, in closed form."""
    rng = np.random.default_rng(0)
    root, weights = rng.normal(size=(4, 4)) / 2, rng.normal(size=(2, 4)) / 2
    covariance, measured = root @ root.T + 0.1 * np.eye(4), np.array([2.0, -2.0])
    gain = covariance @ weights.T @ np.linalg.inv(weights @ covariance @ weights.T + NOISE**2 * np.eye(2))
    exact = covariance - gain @ weights @ covariance
    model = tfg.analytic.gaussian(jnp.zeros(4), jnp.asarray(covariance)).denoiser(tfg.VPCosine())
    return Posterior(model, jnp.asarray(weights, jnp.float32), measured, gain @ measured, exact)


def labels() -> tuple[Any, Any]:
    """The second: classes of the shipped images, by the classifier that chooses and the one that reports."""
    each = [
        tfg.tasks.load_label_task(evaluator=name, steps=STEPS)
        for name in ("fashion-mnist-guide", "fashion-mnist-evaluator")
    ]
    return each[0], each[1]


def images() -> tuple[Any, Any]:
    """The third: shipped images of half the resolution, those of trials and those of the report."""
    from tfg_jax.tasks.find import DEFAULT, find_task
    from tfg_jax.tasks.restore import Images, Noise, restoration

    each = [
        restoration(
            tfg.load("fashion-mnist"), "sr2", Images(count=count, skip=skip), Noise(), draws=1, seed=seed,
            shipped=find_task(DEFAULT).shipped_images, sampler=tfg.DDIM(STEPS),
        )
        for count, skip, seed in ((SAMPLES, 64, 1000), (64, 0, 0))
    ]  # fmt: skip
    return each[0], each[1]


class Compared(NamedTuple):
    """A task of the strategies: what chooses and what reports, the aim, and samples of a full trial and of a report."""

    tasks: Callable[[], tuple[Any, Any]]
    aim: str
    samples: int
    reported: int


TASKS = {
    "Gaussian posterior": Compared(lambda: (posterior(), posterior()), "nats=lower", 64, 256),
    "classes of images": Compared(labels, "evaluator_target_probability=higher", SAMPLES, 64),
    "images of half the resolution": Compared(images, "psnr=higher", SAMPLES, 64),
}


def compare(folder: Path) -> list[dict[str, Any]]:
    """Halving against the published beam at its number of network evaluations, from the same start."""
    rows = []
    for name, task in TASKS.items():
        (chooses, reports), (metric, _, better) = task.tasks(), task.aim.partition("=")
        scores: dict[str, list[float]] = {"beam": [], "halving": []}
        used = []
        for repeat in range(REPEATS):
            what = Search(
                Space.of(chooses, START, AXES), Aim.of(task.aim), Beam(task.samples), 1000 + 10 * repeat,
                seed_report=repeat, report_task=reports, report_samples=task.reported, chunk=32,
            )  # fmt: skip
            spent: list[float] = []
            for strategy in (Beam(task.samples), Halving(task.samples)):
                kind = type(strategy).__name__.lower()
                asked = dataclasses.replace(what, strategy=strategy, budget=spent[0] if spent else None)
                found = run_search(asked, folder / f"{name.replace(' ', '-')}-{repeat}" / kind)
                report: Any = found.report_of(found.best.candidate)
                scores[kind].append(report.scores[metric][0])
                spent.append(sum(trial.evaluations for trial in found.trials))
            used.append(spent[1] / spent[0])
            print(name, repeat, {kind: each[-1] for kind, each in scores.items()}, round(used[-1], 2), flush=True)
        gain = compared(scores["halving"], scores["beam"], 1.0 if better == "higher" else -1.0)
        row = {"task": name, "score": f"{metric} ({better} is better)", **gain}
        rows.append(row | {"evaluations / beam's": round(float(np.mean(used)), 2)})
    return rows


NOTE = (
    "Score at equal network evaluations: the published beam (start rho 0.25, mu 0.25, smoothing 0.001; factors 2, "
    "2, 10 upward to 8, 8, 1; the best 2 of 6 rounds) and then halving from the same start, given as many network "
    f"evaluations as the beam took of the same repeat; {REPEATS} repeats, on search seeds of their own. What the "
    "best of each then scores on a seed, and on images or by a network, that did not choose: mean of the repeats, "
    "and the gain of halving with its 95 % interval. Posteriors on 64 samples a full trial and 256 reported, "
    f"images at {STEPS} steps on {SAMPLES} and 64."
)


def compared(ours: Sequence[float], theirs: Sequence[float], sign: float) -> dict[str, Any]:
    """Means, and the gain of ours with its 95 % interval over the repeats, which share their seeds."""
    gain = sign * (np.asarray(ours) - np.asarray(theirs))
    half = 2.776 * gain.std(ddof=1) / len(gain) ** 0.5  # Student's t of five
    return {
        "beam": f"{np.mean(theirs):.3f}", "halving": f"{np.mean(ours):.3f}",
        "gain": f"{gain.mean():+.3f} [{gain.mean() - half:+.3f}, {gain.mean() + half:+.3f}]",
        "relative": f"{100 * gain.mean() / np.mean(theirs):+.0f} %",
    }  # fmt: skip
