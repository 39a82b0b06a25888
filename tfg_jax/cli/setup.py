"""From options to a task: networks, classes, and the configuration that a sample folder is known by."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfg_jax.checks import check_count
from tfg_jax.cli.methods import Method
from tfg_jax.cli.options import RunOptions
from tfg_jax.config import to_dict
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.guidance.classifier_free.autoguidance import Autoguidance
from tfg_jax.metrics import check_independent
from tfg_jax.runs.store import fingerprint
from tfg_jax.tasks.label import LabelTask, balanced_targets, load_label_task

NOISY_GUIDE = "fashion-mnist-noisy"


def load_task(options: RunOptions, methods: Sequence[Method]) -> LabelTask:
    """The task with its networks; the noisy guide only if a method needs it.

    Raises ValueError for a noisy guide that no method needs, and for classes that are given to the model itself if they
    are not the model's.
    """
    noisy = any(map(needs_noisy_guide, methods))
    if options.noisy_guide is not None and not noisy:
        raise ValueError("--noisy-guide has no effect without the method classifier; drop it")
    task = load_label_task(
        options.model, options.guide, options.evaluator, (options.noisy_guide or NOISY_GUIDE) if noisy else None,
        weak=options.weak, w=options.w, data=options.data, steps=options.steps, eta=options.eta, v=options.v,
        clip=options.clip,
    )  # fmt: skip
    count = task.model.num_classes
    if any(method.conditional for method in methods) and count != len(task.class_names):
        raise ValueError(f"model={options.model!r} has {count or 'no'} classes of its own, the classifiers have "
                         f"{len(task.class_names)}; the method conditional needs the same")  # fmt: skip
    return task


def needs_noisy_guide(method: Method) -> bool:
    """True for guidance by a classifier of noisy images."""
    return isinstance(method.guidance, ClassifierGuidance)


def targets_of(options: RunOptions, names: Sequence[str]) -> np.ndarray:
    """Class of every sample. Raises ValueError for a class that is not there, or one given twice."""
    check_count("per_class", options.per_class)
    check_count("chunk", options.chunk)
    check_count("seed", options.seed, low=0)
    chosen = [_class(word, names) for word in options.classes] or list(range(len(names)))
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"classes={' '.join(options.classes)} names a class twice; raise --per-class instead")
    return balanced_targets(options.per_class * len(chosen), chosen)


def sample_config(options: RunOptions, task: LabelTask, method: Method, targets: np.ndarray) -> dict[str, Any]:
    """All that decides the samples, as JSON: another value of any of it is another folder."""
    guiding = task.noisy_guide if needs_noisy_guide(method) else task.guide
    model: Any = task.model.model if isinstance(task.model, Autoguidance) else task.model
    networks = {"model": model.params}
    # Absent when not asked for, so that folders written before there was such a choice are still known.
    chosen = {name: to_dict(getattr(task, name)) for name in ("lookahead", "window") if getattr(task, name) is not None}
    if isinstance(task.model, Autoguidance):
        weak: Any = task.model.weak
        chosen["w"], networks["weak"] = to_dict(task.model.w), weak.params
    if method.guidance is not None:
        networks["guide"] = guiding.params  # type: ignore[union-attr]
    return chosen | {
        "guidance": to_dict(method.guidance),
        "conditional": method.conditional,
        "sampler": to_dict(task.sampler),
        "clip": to_dict(task.clip),
        "schedule": to_dict(model.schedule),
        "prediction": model.prediction,
        "classes": [int(c) for c in dict.fromkeys(targets.tolist())],
        "seed": options.seed,
        "weights_sha256": {name: fingerprint(params) for name, params in networks.items()},
    }


def dependence_notes(guide: Any, evaluator: Any) -> list[str]:
    """A warning for the reader if the samples are scored by their own guide; empty if not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_independent(guide, evaluator)
    return [str(warning.message) for warning in caught]


def _class(word: str, names: Sequence[str]) -> int:
    if word in names:
        return list(names).index(word)
    if word.isdigit() and int(word) < len(names):
        return int(word)
    raise ValueError(f"classes={word!r} is no class; give numbers 0..{len(names) - 1} or names: {', '.join(names)}")
