"""Label guidance: an unconditional model is asked for classes by a classifier of clean images.

Sample i of a run asks for class ``classes[i % len(classes)]``, so any leading part of a run is class-balanced.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Int

from tfg_jax import metrics, struct
from tfg_jax.checks import check_count
from tfg_jax.config import to_dict
from tfg_jax.guidance.base import StepContext
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.guidance.classifier_free.autoguidance import Autoguidance
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip
from tfg_jax.metrics.titles import COSTS
from tfg_jax.objectives.classifier import class_log_prob, noisy_class_log_prob
from tfg_jax.rows import Arrays
from tfg_jax.runs.store import fingerprint
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.base import Evaluation, Method, Task, identity
from tfg_jax.tasks.scoring import Evaluator, check_reads


@struct.dataclass
class LabelTask(Task):
    """Everything of a label-guidance run but the method, the seed and the number of samples.

    Attributes:
        model: the diffusion model, or a transform of one such as `Autoguidance`; used with its null class unless
            `sample` is told ``conditional=True``.
        guide: classifier of clean images that guides.
        evaluator: scores the samples.
        noisy_guide: classifier of noisy images, needed by `ClassifierGuidance` alone.
        sampler: the sampler rule, the same for every method.
        clip: clips denoised estimates, the same for every method; None does not.
        class_names: one name a class.
        lookahead: the denoised estimate that gradients go through; None is `Tweedie`.
        window: log-SNRs (low, high) between which guidance acts; None is everywhere.
        classes: those that are asked for; () is all.
        own_objective: ascended in place of the guide's log-probability; None is that.
        tuned: tuned methods by name.
    """

    model: Any
    guide: Any
    evaluator: Any
    noisy_guide: Any = None
    sampler: Any = DDIM()
    clip: Clip | None = Clip()
    class_names: tuple[str, ...] = struct.field(pytree_node=False, default=())
    lookahead: Any = None
    window: Any = None
    classes: tuple[int, ...] = struct.field(pytree_node=False, default=())
    own_objective: Any = None
    tuned: Mapping[str, Any] = struct.field(default_factory=dict)

    def targets(self, n: int) -> np.ndarray:
        """Classes in turn."""
        return balanced_targets(n, self.classes or range(len(self.class_names)))

    def objective(self, method: Method) -> Any:
        """The log-probability that the method ascends. Raises ValueError if the noisy guide is needed and missing."""
        if self.own_objective is not None:
            return self.own_objective
        if not isinstance(method, ClassifierGuidance):
            return class_log_prob(self.guide)
        if self.noisy_guide is None:
            raise ValueError("noisy_guide=None, but ClassifierGuidance needs a classifier of noisy images; load one")
        return noisy_class_log_prob(self.noisy_guide)

    def value(self, method: Method) -> Callable[[StepContext], Array]:
        """The log-probability, of the noisy sample where the guide reads that."""
        return _noisy_value if isinstance(method, ClassifierGuidance) else super().value(method)

    def bare(self) -> LabelTask:
        """The task without its evaluator and presets."""
        return dataclasses.replace(self, evaluator=None, tuned={})

    def scored_by(self, metric: str) -> Any:
        """The guide of its own accuracy, the evaluator of all else but what is read off the images themselves."""
        if metric.startswith("guide_"):
            return self.guide
        plain = metric in ("high_frequency_ratio", "unlike_real", *COSTS.values())
        return None if plain else self.evaluator.network

    def notes(self) -> list[str]:
        """That the samples are scored by their own guide, if they are."""
        return dependence_notes(self.guide, self.evaluator.network)

    def evaluate(self, samples: Arrays, *, seconds: float = 0.0, config: Mapping[str, Any] | None = None) -> Evaluation:
        """As `Task.evaluate`, by the evaluator."""
        run = label_run(self.evaluator, self.class_names, samples, seconds, config or {}, self.notes())
        probability = metrics.target_probability(run.counted(run.evaluator_logits), run.targets)
        return Evaluation({"evaluator_target_probability": probability}, lambda: metrics.label_metrics(run), run)

    def describe(self, method: Method, conditional: bool, targets: Any) -> dict[str, Any]:
        """All that decides the samples but the seed and their number, as JSON: another value is another folder."""
        away = isinstance(self.model, Autoguidance)
        model: Any = self.model.model if away else self.model
        networks = {"model": model.params}
        # Absent when not asked for, so that folders written before there was such a choice are still known.
        chosen = {
            name: to_dict(getattr(self, name)) for name in ("lookahead", "window") if getattr(self, name) is not None
        }
        if away:
            weak: Any = self.model.weak
            chosen["w"], networks["weak"] = to_dict(self.model.w), weak.params
        if self.own_objective is not None and method is not None:
            chosen["objective"] = identity(self.own_objective)
        elif method is not None:
            networks["guide"] = (self.noisy_guide if isinstance(method, ClassifierGuidance) else self.guide).params
        return chosen | {
            "guidance": to_dict(method),
            "conditional": conditional,
            "sampler": to_dict(self.sampler),
            "clip": to_dict(self.clip),
            "schedule": to_dict(model.schedule),
            "prediction": model.prediction,
            "classes": [int(c) for c in dict.fromkeys(np.asarray(targets).tolist())],
            "weights_sha256": {name: fingerprint(params) for name, params in networks.items()},
        }


def _noisy_value(ctx: StepContext) -> Array:
    return ctx.noisy_objective(ctx.x)


@public
def balanced_targets(num_samples: int, classes: Sequence[int] = range(10)) -> Int[np.ndarray, " n"]:
    """``classes[i % len(classes)]`` for i < num_samples, int32. Raises ValueError for no samples or no classes."""
    check_count("num_samples", num_samples)
    if not len(classes):
        raise ValueError("classes is empty; name at least one class")
    return np.resize(np.asarray(classes, np.int32), num_samples)


def label_task(
    model: Any,
    guide: Any,
    evaluator: Evaluator,
    noisy_guide: Any = None,
    *,
    weak: Any = None,
    w: float | None = None,
    class_names: tuple[str, ...] = (),
    **fields: Any,
) -> LabelTask:
    """The task of loaded networks.

    Args:
        model, guide, evaluator, noisy_guide: as in `LabelTask`.
        weak: a worse model of the same kind, which ``model`` is guided away from by `Autoguidance`; None is none.
        w: the weight of that; None is 1.
        class_names: names of the classes, used where the classifiers have as many.
        **fields: of `LabelTask`.
    Raises:
        ValueError: classes or sizes that do not match, or w without a weak model.
    """
    if w is not None and weak is None:
        raise ValueError(f"w={w} has no effect without weak; name the model to be guided away from")
    counts = {network.num_classes for network in (guide, evaluator.network, noisy_guide) if network is not None}
    if len(counts) > 1:
        raise ValueError(
            f"guide={guide.name!r} and the other classifiers differ in classes ({sorted(counts)}); match them"
        )
    for role, network in (("guide", guide), ("evaluator", evaluator.network), ("noisy_guide", noisy_guide)):
        if network is not None:
            check_reads(role, network, model.shape)
    model = model if weak is None else Autoguidance(model, weak, 1.0 if w is None else w)
    return LabelTask(model, guide, evaluator, noisy_guide, class_names=names_of(counts.pop(), class_names), **fields)


def names_of(count: int, names: Sequence[str]) -> tuple[str, ...]:
    """Names of so many classes: those given where they are as many."""
    return tuple(names) if count == len(names) else tuple(f"class {c}" for c in range(count))


def class_of(argument: str, word: str, names: Sequence[str]) -> int:
    """The class of a number or a name. Raises ValueError if there is none, naming the argument."""
    if word in names:
        return list(names).index(word)
    if word.isdigit() and int(word) < len(names):
        return int(word)
    raise ValueError(f"{argument}={word!r} is no class; give 0..{len(names) - 1} or a name: {', '.join(names)}")


def label_run(
    evaluator: Evaluator,
    class_names: Sequence[str],
    samples: Arrays,
    seconds: float,
    config: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> metrics.LabelRun:
    """Stored arrays with what the networks say of them; images alone (x, target) count as finished and free."""
    scores, real = evaluator.score(samples["x"]), evaluator.images
    return metrics.LabelRun.of_stored(
        samples,
        targets=np.asarray(samples["target"]),
        evaluator_logits=scores.evaluator_logits,
        seconds=seconds,
        class_names=class_names,
        guide_logits=scores.guide_logits,
        features=scores.features,
        reference_features=evaluator.moments,
        reference_images=real if real is not None and np.shape(real)[1:] == samples["x"].shape[1:] else None,
        objective=samples.get("objective"),
        config=config,
        notes=notes,
    )


def dependence_notes(guide: Any, evaluator: Any) -> list[str]:
    """A warning for the reader if the samples are scored by their own guide; empty if not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metrics.check_independent(guide, evaluator)
    return [str(warning.message) for warning in caught]
