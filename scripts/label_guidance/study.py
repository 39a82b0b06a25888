"""What the study of label guidance runs: a way on a seed, kept in a folder; and the lines of its tables."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from label_guidance.ways import TRIALS, Way, strengths
from tfg_jax import Autoguidance, Denoiser, metrics
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug
from tfg_jax.metrics import LabelRun, label_metrics
from tfg_jax.objectives.classifier import Classifier
from tfg_jax.runs import run as runs
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.label import LabelTask, label_run
from tfg_jax.tasks.scoring import load_as


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run and where it goes."""

    per_class: int = 128  # reported samples a class
    ablation_per_class: int = 64  # of the rows that change one thing of TFG
    trial_per_class: int = 10  # tuning samples a class
    steps: int = 50
    chunk: int = 20  # small arrays stay in the cache of a CPU core
    only: tuple[str, ...] = ()  # rows to sample, without a page; () is all of them, and the page
    folder: Path = Path("runs/label_guidance")  # samples, for resuming
    page: Path = Path("docs/results/details/label_guidance.md")


@dataclasses.dataclass(frozen=True)
class Study:
    """The task, and samples of any method on any seed, kept in folders."""

    task: LabelTask
    guided_by: Mapping[str, LabelTask]  # the same with the other guides
    networks: Mapping[str, Denoiser]  # later stages of the task's
    first: Denoiser  # the first stage of all
    run: Run

    @classmethod
    def load(cls, run: Run) -> "Study":
        """With the released networks."""
        guides = {"estimates": "fashion-mnist-guide-estimates", "narrow": "fashion-mnist-guide"}
        tasks = {name: load_label_task(guide=guide, steps=run.steps) for name, guide in guides.items()}
        networks = {stage: load_as(f"fashion-mnist-{stage}", Denoiser) for stage in ("longer", "taught")}
        first = load_as("fashion-mnist-first", Denoiser)
        return cls(load_label_task(guide="fashion-mnist-guide-robust", steps=run.steps), tasks, networks, first, run)

    @property
    def guides(self) -> dict[str, Classifier]:
        """The classifiers of clean images, by their short names."""
        return {"robust": self.task.guide} | {name: task.guide for name, task in self.guided_by.items()}

    def task_of(self, way: Way) -> LabelTask:
        """The task with the networks of a way."""
        task = self.task if way.guide is None else self.guided_by[way.guide]
        if way.network is None:
            return task
        network = self.networks[way.network]
        return dataclasses.replace(task, model=network if way.w is None else Autoguidance(network, self.first, way.w))

    def samples(
        self, name: str, way: Way, seed: int, per_class: int, first: int | None = None
    ) -> tuple[LabelRun, dict[str, Any]]:
        """Samples and metrics of a way (of the ``first`` of them); only what is missing on disk is computed."""
        task = self.task_of(way)
        if way.v is not None:
            task = dataclasses.replace(task, sampler=DDPM(self.run.steps, way.v))
        n, folder = 10 * per_class, self.run.folder / name
        run = runs.Run(task, way.guidance, n, seed, min(self.run.chunk, n), way.conditional, name)
        arrays = {key: array[:first] for key, array in run.samples(folder).items()}
        scored = label_run(task.judge, task.class_names, arrays, runs.seconds_of(folder), run.config)
        return scored, label_metrics(scored)

    def tune(self, name: str, reference: float) -> tuple[Way, list[dict[str, Any]]]:
        """The best of a method's trials on the tuning seed, and all of them as rows."""
        rows = []
        for way in TRIALS[name]:
            trial = f"tune/{slug(name)}-{'-'.join(map(str, strengths(way)))}"
            _, found = self.samples(trial, way, 1, self.run.trial_per_class)
            score = found["evaluator_accuracy"] - 0.25 * math.log2(found["frechet_distance"] / reference)
            rows.append(
                {
                    "method": name,
                    "setting": way.setting,
                    "accuracy": round(found["evaluator_accuracy"], 3),
                    "Fréchet distance": round(found["frechet_distance"], 1),
                    "score": round(score, 3),
                }
            )
        best = int(np.argmax([row["score"] for row in rows]))
        return TRIALS[name][best], [{**row, "kept": "yes" if i == best else ""} for i, row in enumerate(rows)]


def row_of(name: str, way: Way, numbers: dict[str, Any]) -> dict[str, Any]:
    """One line of the main table."""
    return line_of(name, way.setting, numbers)


def line_of(name: str, setting: str, numbers: dict[str, Any]) -> dict[str, Any]:
    """A line of any table of methods."""
    keys = ("evaluator_accuracy", "frechet_distance", "high_frequency_ratio", *metrics.COSTS.values())
    return {"method": name, "setting": setting, **metrics.titled(numbers, keys, short=True)}


def real_row(task: LabelTask, n: int) -> dict[str, Any]:
    """Real test images on the same scale, at equal n and class balance."""
    images, labels = fashion_mnist.load("test")
    chosen = np.concatenate([np.flatnonzero(labels == c)[: n // 10] for c in range(10)])
    scores = task.judge.score(images[chosen])
    distance = metrics.frechet_with_ci(scores.features, task.judge.moments)  # type: ignore[arg-type]
    ratio = metrics.high_frequency_ratio(images[chosen], task.judge.images)  # type: ignore[arg-type]
    numbers: dict[str, Any] = {"samples": len(chosen), **dict.fromkeys(metrics.COSTS.values(), 0)}
    numbers |= metrics.flat_estimate("evaluator_accuracy", metrics.accuracy(scores.evaluator_logits, labels[chosen]))
    numbers |= metrics.flat_estimate("frechet_distance", distance)
    return line_of("real test images", "-", numbers | metrics.flat_estimate("high_frequency_ratio", ratio))
