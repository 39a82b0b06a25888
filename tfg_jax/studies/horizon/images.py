"""The horizon study on images: problems, the images to tune and to report on, and what one run of a row scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import jax
import numpy as np

from tfg_jax import metrics
from tfg_jax.data.sample import load_sample
from tfg_jax.denoiser import Denoiser
from tfg_jax.result import finished
from tfg_jax.runs.store import fingerprint
from tfg_jax.studies.horizon.rows import LABEL, ImageRow
from tfg_jax.tasks.inverse import InverseTask, measure_images, problem_operator
from tfg_jax.tasks.label import LabelTask, balanced_targets
from tfg_jax.tasks.scoring import load_as

REPORT, TRIAL = 0, 1
"""Seeds of reported samples and of trials."""
NOISE_STD = 0.05


def study_images(trial: bool, n: int) -> np.ndarray:
    """Shipped test images, class by class in turn: numbers 0 to 7 of each class are reported, 8 and 9 tuned on.

    Raises:
        ValueError: more images than the 80 and 20 there are.
    """
    numbers = range(8, 10) if trial else range(8)
    order = [10 * c + k for k in numbers for c in range(10)]
    if n > len(order):
        name = "trial-images" if trial else "images"
        raise ValueError(f"{name}={n} is more than the {len(order)} there are; lower it")
    return load_sample()[0][order[:n]]


@dataclass(frozen=True)
class Problem:
    """What one column of rows is asked for, on one seed.

    Attributes:
        name: of the problem.
        task: with the sampler and the clip of every row.
        targets: one a sample: measurements or classes.
        truth: the images behind the measurements; None for labels.
        seed: of the noise of measurements and samples.
    """

    name: str
    task: InverseTask | LabelTask
    targets: np.ndarray
    truth: np.ndarray | None
    seed: int


class Networks:
    """The networks of the study, released or own (see `load_label_task`); loaded when they are first asked for."""

    def __init__(self, model: Any, guide: Any, evaluator: Any) -> None:
        self.names = (model, guide, evaluator)

    @cached_property
    def label(self) -> LabelTask:
        """The task of labels, with guide and evaluator."""
        from tfg_jax.tasks import load_label_task

        load_as(self.names[0], Denoiser)  # the first complaint is about the model
        return load_label_task(*self.names)

    @property
    def model(self) -> Denoiser:
        """The diffusion model."""
        return cast(Denoiser, self.label.model)  # loaded without a weaker model

    @cached_property
    def weights(self) -> dict[str, str]:
        """Their hashes."""
        each = {"model": self.model, "guide": self.label.guide, "evaluator": self.label.evaluator.network}
        return {name: fingerprint(network.params) for name, network in each.items()}

    def problem(self, name: str, seed: int, n: int) -> Problem:
        """A problem of ``n`` samples on a seed; the mask of a random problem is another on another seed."""
        if name == LABEL:
            return Problem(name, self.label, balanced_targets(n), None, seed)
        key, images = jax.random.key(seed), study_images(seed == TRIAL, n)
        shape: Any = images.shape[1:]
        operator = problem_operator(name, shape, key)
        y, noise_std = measure_images(operator, images, key, noise_std=NOISE_STD)
        return Problem(name, InverseTask(self.model, operator, noise_std, measurements=y), y, images, seed)


def row_task(problem: Problem, row: ImageRow) -> InverseTask | LabelTask:
    """The problem as a row sees it; rows that work end to end take neither sampler nor lookahead."""
    if row.sampler is None:
        return problem.task
    return dataclasses.replace(problem.task, sampler=row.sampler, lookahead=row.lookahead)


def score(networks: Networks, problem: Problem, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Numbers of one run: means with their intervals, values of every sample, failures, and ``score``, which tuning
    raises: mean PSNR with failed samples at 0 dB, or accuracy - 0.25 log2(Frechet distance)."""
    ok = finished(arrays["status_code"]) & np.isfinite(arrays["x"]).all(axis=(1, 2, 3))
    x = np.clip(np.where(ok[:, None, None, None], arrays["x"], 0.0), -1.0, 1.0).astype(np.float32)
    cost = arrays["cost_forwards"].astype(np.int64) + arrays["cost_pullbacks"]
    found: dict[str, Any] = {
        "samples": len(x), "failed": int((~ok).sum()), "evaluations": float(cost.mean()),
        "objective_gradients": float(arrays["cost_objective"].mean()),
    }  # fmt: skip
    rated = _rate_labels if problem.truth is None else _rate_restorations
    return found | rated(networks, problem, x, ok)


def _rate_restorations(networks: Networks, problem: Problem, x: np.ndarray, ok: np.ndarray) -> dict[str, Any]:
    truth: Any = problem.truth
    evaluator, operator = networks.label.evaluator.network, problem.task.operator  # type: ignore[union-attr]
    residual = metrics.measurement_residual(operator, x, problem.targets)
    values = {
        "psnr": metrics.psnr(x, truth),
        "ssim": metrics.ssim(x, truth),
        "residual_per_noise_std": residual / NOISE_STD,
        "feature_distance": metrics.feature_distance(
            metrics.features(evaluator, x), metrics.features(evaluator, truth)
        ),
    }
    score = float(np.where(ok, values["psnr"], 0.0).mean())
    found = {name: _interval(metrics.mean_ci(value[ok])) for name, value in values.items()}
    return {**found, "score": score, "values": [float(v) if good else None for v, good in zip(values["psnr"], ok)]}  # noqa: B905


def _rate_labels(networks: Networks, problem: Problem, x: np.ndarray, ok: np.ndarray) -> dict[str, Any]:
    evaluator = networks.label.evaluator
    scores = evaluator.score(x)
    counted = lambda logits: np.where(ok[:, None], np.asarray(logits, np.float64), np.nan)  # noqa: E731
    accuracy = metrics.accuracy(counted(scores.evaluator_logits), problem.targets)
    found = {"accuracy": _interval(accuracy)}
    found["guide_accuracy"] = _interval(metrics.accuracy(counted(scores.guide_logits), problem.targets))
    if scores.features is None or evaluator.moments is None or ok.sum() < 2:
        return {**found, "score": accuracy.value}
    distance = metrics.frechet_with_ci(scores.features[ok], evaluator.moments)
    found["frechet_distance"] = _interval(distance)
    return {**found, "score": accuracy.value - 0.25 * float(np.log2(max(distance.value, 1e-9)))}


def _interval(estimate: metrics.Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]
