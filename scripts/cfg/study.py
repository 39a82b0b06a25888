"""Rows of the image study: samples in resumable folders, and their numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from cfg.common import Run, Store
from cfg.rows import Row
from tfg_jax import metrics, struct
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug
from tfg_jax.metrics import label_metrics
from tfg_jax.runs import run as runs
from tfg_jax.runs.store import config_hash
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.fashion_mnist.train_diffusion import Diffusion, Model
from tfg_jax.tasks.label import LabelTask, balanced_targets, label_run
from tfg_jax.training.recipe import train

REAL = "real test images"


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


class Study:
    """The task, and the rows known so far, kept in rows.json."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.known = Store(run.folder / "rows.json")
        self.task = load_label_task(guide="fashion-mnist-guide", noisy_guide="fashion-mnist-noisy")
        images, _ = test_images(2 * run.samples)
        self.real = np.asarray(metrics.features(self.task.judge.evaluator, images))
        for n in {run.samples, run.p_samples}:
            self.known.put(f"{REAL}, n {n}", "", self._real_row(n))

    def compute(self, row: Row) -> dict[str, Any]:
        """The numbers of a row; only what is missing on disk is computed."""
        run = self.run
        base = self.task.model if row.p_uncond is None else tfg.load(trained(run, row.p_uncond))
        sampler, targets = row.sampler(), balanced_targets(row.samples(run))
        task = GuidedTask(**{f.name: getattr(self.task, f.name) for f in dataclasses.fields(self.task)})
        task = dataclasses.replace(task, model=row.model(base), sampler=sampler)
        plain = dataclasses.replace(self.task, model=base, sampler=sampler)
        config = plain.describe(row.guidance, row.conditional, targets) | {"seed": 0}
        config |= {"w": row.w, "temperature": row.temperature}
        home = run.folder / "samples" / slug(row.name)
        key = config_hash({"config": config, "samples": len(targets)})
        if (found := self.known.get(row.name, key)) is not None:
            return found
        chunk = min(run.chunk, len(targets))
        own = runs.Run(task, row.guidance, len(targets), 0, chunk, row.conditional, row.name, config)
        scored = label_run(task.judge, task.class_names, own.samples(home), runs.seconds_of(home), config)
        features: Any = scored.features
        found = label_metrics(scored) | self._spread(features[scored.ok()])
        return self.known.put(row.name, key, found | {"part": row.part, "folder": str(home)})

    def _spread(self, features: np.ndarray) -> dict[str, float]:
        """Precision and recall against as many real images, flat."""
        made, real = metrics.equal_size(features, self.real)
        return _flat(dict(zip(("precision", "recall"), metrics.precision_recall(made, real), strict=True)))

    def _real_row(self, n: int) -> dict[str, Any]:
        """Real test images on the same scale, half of them new to the manifold of the other half."""
        n = min(n, len(self.real) // 2)
        images, labels = test_images(2 * n)
        other, real = self.real[n : 2 * n], self.real[:n]
        logits = metrics.classify(self.task.judge.evaluator, images[:n])
        precision, recall = metrics.precision_recall(other, real)
        assert self.task.judge.moments is not None
        found = {
            "frechet_distance": metrics.frechet_with_ci(real, self.task.judge.moments),
            "inception_score": metrics.inception_score(logits), "precision": precision, "recall": recall,
            "evaluator_accuracy": metrics.accuracy(logits, labels[:n]),
        }  # fmt: skip
        return _flat(found) | {
            "network_forwards_per_sample": 0, "network_pullbacks_per_sample": 0, "samples": n
        }  # fmt: skip


def _flat(found: dict[str, metrics.Estimate]) -> dict[str, float]:
    """Estimates under the flat names of metrics.json."""
    return {key: value for name, each in found.items() for key, value in metrics.flat_estimate(name, each).items()}


def trained(run: Run, p: float) -> Path:
    """A model trained with this share of labels dropped; the same number of updates for all. Resumable."""
    home = run.folder / f"model-p{p:g}-{run.train_steps}"
    export = run.folder / "models" / f"p-uncond-{p:g}-{run.train_steps}"
    if not (export / "README.md").exists():  # written after the weights
        steps = run.train_steps
        train(Diffusion(Model(p_uncond=p), home, steps=steps, decay_from=steps * 3 // 4, export=export))
    return export


def test_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n test images that hold all classes equally often, in the order of the samples' classes."""
    images, labels = fashion_mnist.load("test")
    order = np.stack([np.flatnonzero(labels == c)[: -(-n // 10)] for c in range(10)], axis=1).ravel()[:n]
    return images[order], labels[order]
