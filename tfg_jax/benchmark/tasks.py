"""The task that a row asks of a model: of a data set of the library, or of what was handed in."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tfg_jax.benchmark.operators import operator_of
from tfg_jax.benchmark.own import AttributeTask, SquaredErrorTask, StyleTask
from tfg_jax.benchmark.sources import Sources, networks_of
from tfg_jax.benchmark.suite import Entry, Target
from tfg_jax.denoiser import Denoiser
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.lookahead import Clip
from tfg_jax.models.egnn.convert import PropertyPredictor
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier
from tfg_jax.objectives.inverse import as_pytree
from tfg_jax.result import finished
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.base import Task
from tfg_jax.tasks.find import find_task
from tfg_jax.tasks.inverse import InverseTask, measure_images
from tfg_jax.tasks.label import class_of, label_task
from tfg_jax.tasks.restore import Images, Noise, restoration
from tfg_jax.tasks.scoring import Evaluator


def task_of(entry: Entry, target: Target, sources: Sources, *, seed: int, n: int, method: Any = None) -> Task:
    """The task of a row.

    Args:
        entry, target: what is asked for.
        sources: networks and data.
        seed: of masks and noise of measurements, and of which molecules are asked for.
        n: samples.
        method: classifiers of noisy images are loaded for `ClassifierGuidance` alone.

    Raises:
        ValueError: networks or data that do not fit.
        FileNotFoundError: no such weights.
    """
    make = SHIPPED[entry.kind] if entry.data else OWN[entry.kind]
    return make(entry, target, sources, seed, n, needs_noisy_guide(method))


def needs_noisy_guide(method: Any) -> bool:
    """Whether a method reads noisy samples."""
    return isinstance(method, ClassifierGuidance)


def sampler_of(entry: Entry) -> DDIM:
    """The sampler of all methods of a task."""
    from tfg_jax import timesteps

    return DDIM(entry.steps, entry.eta, getattr(timesteps, entry.grid)() if entry.grid else None)


def _classes(target: Target, names: tuple[str, ...]) -> tuple[int, ...]:
    """All of them for "all"."""
    return () if target.request == ("all",) else tuple(class_of("target", str(word), names) for word in target.request)


def _labels(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    names = networks_of(entry)
    task = find_task(entry.data).load_label_task(
        sources.named(names["model"], Denoiser), sources.named(names["guide"], Classifier),
        sources.named(names["evaluator"], Classifier),
        sources.named(names["noisy_guide"], NoisyClassifier) if noisy else None,
        clip=entry.clip, sampler=sampler_of(entry),
    )  # fmt: skip
    return dataclasses.replace(task, classes=_classes(target, task.class_names), tuned={})


def _restoration(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    names = networks_of(entry)
    return restoration(
        sources.network(names["model"], Denoiser), target.name, Images(count=n), Noise(entry.noise_std), draws=1,
        seed=seed, shipped=find_task(entry.data).shipped_images, clip=entry.clip,
        evaluator=sources.network(names["evaluator"], Classifier), sampler=sampler_of(entry),
    )  # fmt: skip


def _properties(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    names = networks_of(entry)
    kinds = {"model": Denoiser, "guide": PropertyPredictor, "evaluator": PropertyPredictor}
    networks = {role: sources.network(names[role], kind) for role, kind in kinds.items()}
    task = find_task(entry.data).load_molecule_task(
        tuple(map(str, target.request)), **networks, start=seed * n, by_size=True
    )
    return dataclasses.replace(task, sampler=sampler_of(entry), tuned={})


def _own_labels(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    guide, evaluator = (sources.need(names[0]) for names in (entry.guides, entry.evaluators))
    model = sources.need(entry.model)
    task = label_task(model, guide, Evaluator(evaluator), clip=_clip(entry), sampler=sampler_of(entry))
    return dataclasses.replace(task, classes=_classes(target, task.class_names))


def _own_attributes(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    guides, evaluators = (tuple(map(sources.need, names)) for names in (entry.guides, entry.evaluators))
    wanted = jnp.asarray([target.request], jnp.int32)
    for network, word in zip((*guides, *evaluators), target.request * 2, strict=True):
        class_of("target", str(word), [f"class {c}" for c in range(network.num_classes)])
    model = sources.need(entry.model)
    return AttributeTask.of(model, guides, evaluators, wanted, sampler=sampler_of(entry), clip=_clip(entry))


def _own_restoration(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    model = sources.need(entry.model)
    truth, key = sources.images(entry.images, model.shape), jax.random.key(seed)
    if n > len(truth):
        raise ValueError(f"samples={n} is more than the {len(truth)} images of {entry.images!r}; lower it")
    operator = operator_of(entry.operator, model.shape)
    y, noise_std = measure_images(operator, truth[:n], key, noise_std=entry.noise_std)
    evaluators = [name for name in entry.evaluators if sources.has(name)]
    return InverseTask(
        model, operator, noise_std, sampler_of(entry), clip=_clip(entry), measurements=y, truth=truth[:n],
        names=tuple(map(str, range(n))), evaluator=sources.need(evaluators[0]) if evaluators else None,
    )  # fmt: skip


def _own_properties(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    from tfg_jax.tasks.qm9 import load_molecule_task

    task = load_molecule_task(
        tuple(map(str, target.request)), model=sources.need(entry.model), guide=sources.need(entry.guides[0]),
        evaluator=sources.need(entry.evaluators[0]), start=seed * n, by_size=True,
    )  # fmt: skip
    fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return SquaredErrorTask(**{**fields, "sampler": sampler_of(entry), "clip": _clip(entry), "tuned": {}})


def _own_style(entry: Entry, target: Target, sources: Sources, seed: int, n: int, noisy: bool) -> Task:
    styles, number = sources.images(entry.images), target.request[0]
    if not isinstance(number, int) or not 0 <= number < len(styles):
        raise ValueError(f"target={number!r} is no number of the {len(styles)} styles of {entry.images!r}; give one")
    model, features = sources.need(entry.model), as_pytree(sources.need(entry.features))
    evaluator = next((as_pytree(sources.need(name)) for name in entry.evaluators if sources.has(name)), None)
    style = jnp.asarray(styles[number][None])
    return StyleTask.of(model, features, evaluator, style, sampler=sampler_of(entry), clip=_clip(entry))


def _clip(entry: Entry) -> Clip | None:
    return Clip() if entry.clip else None


SHIPPED = {"labels": _labels, "restoration": _restoration, "properties": _properties}
OWN = {
    "labels": _own_labels, "attributes": _own_attributes, "restoration": _own_restoration,
    "properties": _own_properties, "style": _own_style,
}  # fmt: skip


def scores_of(entry: Entry, task: Any, sources: Sources, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the user's function says of every sample (n,) beside what the task does; of one that failed NaN."""
    if not entry.score or not sources.has(entry.score):
        return {}
    reference = getattr(task, "truth", None)
    score, ok = sources.need(entry.score), finished(arrays["status_code"])
    try:
        numbers = score(arrays["x"], arrays["target"] if reference is None else reference)
        values = {name: np.asarray(value, np.float64) for name, value in numbers.items()}
    except Exception as error:
        raise ValueError(
            f"use={entry.score} fails when it is called ({type(error).__name__}: {error}); mend it"
        ) from error
    for name, value in values.items():
        if value.shape != ok.shape:
            raise ValueError(f"use={entry.score} gives {name!r} of shape {value.shape}; one number a sample is needed")
    return {name: np.where(ok, value, np.nan) for name, value in values.items()}
