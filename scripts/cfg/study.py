"""The rows of the study, on Gaussians and on images: how each is measured, and what it costs."""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from studied import flat

import tfg_jax as tfg
from cfg.common import Options
from cfg.gaussians import gaussian_rows
from cfg.settings import Setting, settings
from tfg_jax import metrics, struct
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug
from tfg_jax.metrics import label_metrics
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.store import fingerprint
from tfg_jax.runs.study import Row, Study
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.fashion_mnist.train_diffusion import Diffusion, Model
from tfg_jax.tasks.label import LabelTask, balanced_targets, label_run
from tfg_jax.training.recipe import train

REAL = "real test images"
TRAINING_BATCH = 64
PULLBACK = 2.0  # forwards' worth of time


def study_of(options: Options) -> Study:
    """All rows: Gaussians, real images, settings."""
    images, real, rows, trained = Images(options), [], [], set()
    inputs = lambda: images.hashes  # noqa: E731
    for n in sorted({options.samples, options.p_samples}):
        measure = partial(images.measure_real, n)
        real.append(Row(f"{REAL}, n {n}", REAL, {"samples": n}, measure, inputs=inputs))
    for setting in settings(options):
        n, cost = images.samples(setting), setting.cost
        work = (cost.forwards + PULLBACK * cost.pullbacks) * n
        config, claim = setting.config | {"samples": n}, ""
        if setting.p_uncond is not None:  # one process trains its model
            claim, config["train_steps"] = f"p_uncond {setting.p_uncond:g}", options.train_steps
            new = {setting.p_uncond} - trained
            work += len(new) * (1.0 + PULLBACK) * options.train_steps * TRAINING_BATCH
            trained |= new
        rows.append(
            Row(setting.name, setting.part, config, images.measure, (setting,), n, claim=claim, inputs=inputs,
                evaluations=cost.forwards + cost.pullbacks, seconds=work / options.rate)
        )  # fmt: skip
    return Study(options.folder, [*gaussian_rows(options), *real, *rows])


def samples_of(options: Options, name: str) -> Path:
    """Where the samples of a row lie."""
    return options.folder / "samples" / slug(name)


@struct.dataclass
class GuidedTask(LabelTask):
    """The label task with a transformed model, recording nothing on the way."""

    def sample(self, key: Any, targets: Any, guidance: Any, *, conditional: bool = False, index_offset: Any = 0) -> Any:
        """One batch of samples; the record that sample folders keep is empty."""
        asked = {} if guidance is None else {"objective": self.objective(guidance), "target": targets}
        out = tfg.sample(
            key, self.model, num_samples=len(targets), cond=targets if conditional else None, guidance=guidance,
            sampler=self.sampler, clip=self.clip, index_offset=index_offset, **asked,
        )  # fmt: skip
        return dataclasses.replace(out, info={"summary": jnp.zeros((len(targets), 1))})


class Images:
    """The networks, loaded when the first row is measured, and how rows are measured with them."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @cached_property
    def task(self) -> LabelTask:
        """The label task with the shipped networks."""
        return load_label_task(guide="fashion-mnist-guide", noisy_guide="fashion-mnist-noisy")

    @cached_property
    def real(self) -> np.ndarray:
        """Features of test images."""
        return np.asarray(metrics.features(self.task.evaluator.network, test_images(2 * self.options.samples)[0]))

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of the networks."""
        each: Any = {"model": self.task.model, "guide": self.task.guide, "noisy_guide": self.task.noisy_guide}
        each["evaluator"] = self.task.evaluator.network
        return {name: fingerprint(network.params) for name, network in each.items()}

    def samples(self, setting: Setting) -> int:
        """How many of them."""
        return self.options.samples if setting.p_uncond is None else self.options.p_samples

    def measure(self, setting: Setting, trial: bool) -> dict[str, Any]:
        """The numbers of a row; only samples that are missing on disk are computed."""
        options, n, path = self.options, self.samples(setting), samples_of(self.options, setting.name)
        base = self.task.model if setting.p_uncond is None else tfg.load(trained(options, setting.p_uncond))
        task = GuidedTask(**{f.name: getattr(self.task, f.name) for f in dataclasses.fields(self.task)})
        task = dataclasses.replace(task, model=setting.model(base), sampler=setting.sampler)
        untransformed = dataclasses.replace(self.task, model=base, sampler=setting.sampler)
        config = untransformed.describe(setting.guidance, setting.conditional, balanced_targets(n)) | {"seed": 0}
        config |= {"w": setting.w, "temperature": setting.temperature}
        more = {"conditional": setting.conditional, "name": setting.name, "own": config}
        run = Run(task, setting.guidance, n, 0, min(options.chunk, n), **more)
        scored = label_run(task.evaluator, task.class_names, run.samples(path), seconds_of(path), config)
        features: Any = scored.features
        return label_metrics(scored) | self.spread(features[scored.ok()])

    def spread(self, features: np.ndarray) -> dict[str, float]:
        """Precision and recall against as many real images, flat."""
        made, real = metrics.equal_size(features, self.real)
        return flat(**dict(zip(("precision", "recall"), metrics.precision_recall(made, real), strict=True)))

    def measure_real(self, n: int, choice: None, trial: bool) -> dict[str, Any]:
        """Real test images on the same scale, half of them new to the manifold of the other half."""
        n = min(n, len(self.real) // 2)
        images, labels = test_images(2 * n)
        other, real = self.real[n : 2 * n], self.real[:n]
        logits = metrics.classify(self.task.evaluator.network, images[:n])
        precision, recall = metrics.precision_recall(other, real)
        assert self.task.evaluator.moments is not None
        estimates = {
            "frechet_distance": metrics.frechet_with_ci(real, self.task.evaluator.moments),
            "inception_score": metrics.inception_score(logits), "precision": precision, "recall": recall,
            "evaluator_accuracy": metrics.accuracy(logits, labels[:n]),
        }  # fmt: skip
        return flat(**estimates) | {
            "network_forwards_per_sample": 0, "network_pullbacks_per_sample": 0, "samples": n
        }  # fmt: skip


def trained(options: Options, p: float) -> Path:
    """A model trained with this share of labels dropped; the same number of updates for all. Resumable."""
    steps = options.train_steps
    export = options.folder / "models" / f"p-uncond-{p:g}-{steps}"
    if not (export / "README.md").exists():  # written after the weights
        checkpoints = options.folder / f"model-p{p:g}-{steps}"
        train(Diffusion(Model(p_uncond=p), checkpoints, steps=steps, decay_from=steps * 3 // 4, export=export))
    return export


def test_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n test images that hold all classes equally often, in the order of the samples' classes."""
    images, labels = fashion_mnist.load("test")
    order = np.stack([np.flatnonzero(labels == c)[: -(-n // 10)] for c in range(10)], axis=1).ravel()[:n]
    return images[order], labels[order]
