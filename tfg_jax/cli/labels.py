"""Options of commands that ask a data set's classifier for classes, and their task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfg_jax.references import called, is_reference, resolve


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """What is asked for, and the networks that guide and score."""

    classes: tuple[str, ...] = ()
    """Requested classes, by number or name; default all."""
    per_class: int = 8
    """Samples of each class."""
    guide: str = ""
    """Classifier that guides: released name or folder."""
    weak: str | None = None
    """A worse model of the same kind to guide away from (autoguidance): released name or folder; default none."""
    w: float | None = None
    """Weight of that, default 1; 0 leaves the model as it is."""
    noisy_guide: str | None = None
    """Classifier of noisy images, for the method `classifier` alone: released name or folder; default the shipped."""
    evaluator: str = ""
    """Classifier that scores: released name or folder."""
    data: Path | None = None
    """Folder of the original files of the data set: more real images to compare with than the hundred shipped ones."""


def label_defaults(subject: Any) -> dict[str, str]:
    """The networks of a data set."""
    return {role: subject.networks[role] for role in ("guide", "evaluator")}


def network(role: str, text: str, kind: Any) -> Any:
    """A network by released name or folder, or what a function of the user's gives. ValueError for another kind."""
    from tfg_jax.tasks.scoring import load_as

    if not is_reference(text) or Path(text).is_dir():
        return load_as(text, kind)
    found = resolve(role, text, default=role)
    found = found if isinstance(found, kind) or not callable(found) else called(role, text, found)
    if not isinstance(found, kind):
        raise ValueError(f"{role}={text} gives a {type(found).__name__}, a {kind.__name__} is needed; mend it")
    return found


def label_run_task(subject: Any, options: Any, methods: Sequence[Any], sampler: Any) -> Any:
    """The task with its networks; the noisy guide only if a method needs it.

    Raises ValueError for a noisy guide that no method needs, for classes that are given to the model itself if they
    are not the model's, and for a class that is not there, or one given twice.
    """
    noisy = any(method.kind == "noisy" for method in methods)
    if options.noisy_guide is not None and not noisy:
        raise ValueError("--noisy-guide has no effect without the method classifier; drop it")
    from tfg_jax.checks import check_count
    from tfg_jax.denoiser import Denoiser

    wanted = (options.noisy_guide or subject.networks["noisy_guide"]) if noisy else None
    model = network("model", options.model, Denoiser) if is_reference(options.model) else options.model
    task = subject.label_task_of(
        model, options.guide, options.evaluator, wanted, weak=options.weak, w=options.w, data=options.data,
        clip=options.clip, sampler=sampler,
    )  # fmt: skip
    count = getattr(task.model, "num_classes", None)
    if any(method.conditional for method in methods) and count != len(task.class_names):
        raise ValueError(f"model={options.model!r} has {count or 'no'} classes of its own, the classifiers have "
                         f"{len(task.class_names)}; the method conditional needs the same")  # fmt: skip
    for name, low in (("per_class", 1), ("chunk", 1), ("seed", 0)):
        check_count(name, getattr(options, name), low)
    classes = tuple(_class(word, task.class_names) for word in options.classes)
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes={' '.join(options.classes)} names a class twice; raise --per-class instead")
    return dataclasses.replace(task, classes=classes)


def label_size(task: Any, options: Any) -> int:
    """Samples of the whole run."""
    return options.per_class * len(task.classes or task.class_names)


def _class(word: str, names: Sequence[str]) -> int:
    if word in names:
        return list(names).index(word)
    if word.isdigit() and int(word) < len(names):
        return int(word)
    raise ValueError(f"classes={word!r} is no class; give numbers 0..{len(names) - 1} or names: {', '.join(names)}")
