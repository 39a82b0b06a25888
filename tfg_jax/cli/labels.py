"""The task that options ask for: of a data set's classifier, or one of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfg_jax.cli.options import check_sizes
from tfg_jax.references import is_reference, resolve


def label_defaults(subject: Any) -> dict[str, str]:
    """The networks of a data set."""
    return {role: subject.networks[role] for role in ("guide", "evaluator")}


def network(role: str, text: str, kind: Any) -> Any:
    """A network by released name or folder, or what a function of the user's gives. ValueError for another kind."""
    from tfg_jax.tasks.scoring import network_of

    return network_of(role, text, kind)


def label_run_task(subject: Any, options: Any, methods: Sequence[Any], sampler: Any) -> Any:
    """The task with its networks; the noisy guide only if a method needs it.

    Raises ValueError for a noisy guide that no method needs, for classes that are given to the model itself if they
    are not the model's, and for a class that is not there, or one given twice.
    """
    noisy = any(method.kind == "noisy" for method in methods)
    if options.noisy_guide is not None and not noisy:
        raise ValueError("--noisy-guide has no effect without the method classifier; drop it")
    from tfg_jax.denoiser import Denoiser
    from tfg_jax.tasks.label import class_of

    wanted = (options.noisy_guide or subject.networks["noisy_guide"]) if noisy else None
    model = network("model", options.model, Denoiser) if is_reference(options.model) else options.model
    task = subject.load_label_task(
        model, options.guide, options.evaluator, wanted, weak=options.weak, w=options.w, data=options.data,
        clip=options.clip, sampler=sampler,
    )  # fmt: skip
    count = getattr(task.model, "num_classes", None)
    if any(method.conditional for method in methods) and count != len(task.class_names):
        raise ValueError(f"model={options.model!r} has {count or 'no'} classes of its own, the classifiers have "
                         f"{len(task.class_names)}; the method conditional needs the same")  # fmt: skip
    check_sizes(options, "per_class")
    classes = tuple(class_of("classes", word, task.class_names) for word in options.classes)
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes={' '.join(options.classes)} names a class twice; raise --per-class instead")
    return dataclasses.replace(task, classes=classes)


def own_run_task(task: Any, options: Any, sampler: Any) -> Any:
    """The user's task with the model and the sampler of the options."""
    check_sizes(options, "num_samples")
    from tfg_jax.denoiser import Denoiser
    from tfg_jax.lookahead import Clip

    task = dataclasses.replace(task, sampler=sampler, clip=(task.clip or Clip()) if options.clip else None)
    return dataclasses.replace(task, model=network("model", options.model, Denoiser)) if options.model else task


def own_objective(text: str) -> Any:
    """The objective that a reference names."""
    from tfg_jax.objectives.base import as_objective

    return as_objective(resolve("objective", text))


def label_size(task: Any, options: Any) -> int:
    """Samples of the whole run."""
    return options.per_class * len(task.classes or task.class_names)
