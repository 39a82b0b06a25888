"""Label guidance: an unconditional model is asked for classes by a classifier of clean images.

Sample i of a run asks for class ``classes[i % len(classes)]``, so any leading part of a run is class-balanced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tfg_jax.checks import check_count
from tfg_jax.data.fashion_mnist import CLASS_NAMES
from tfg_jax.denoiser import Denoiser, Model
from tfg_jax.guidance.base import StepContext
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.guidance.classifier_free.autoguidance import Autoguidance
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip, Lookahead
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.objectives.classifier import (
    Classifier,
    ClassLogProb,
    NoisyClassifier,
    class_log_prob,
    noisy_class_log_prob,
)
from tfg_jax.result import Cost, Samples
from tfg_jax.samplers.base import Sampler
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.tasks.methods import Method, sample_task, upper_task_cost
from tfg_jax.tasks.scoring import Judge, check_reads, load_as, load_judge


@dataclass(frozen=True)
class LabelTask:
    """Everything of a label-guidance run but the method, the key and the targets.

    Attributes:
        model: the diffusion model, or a transform of one such as `Autoguidance`; used with its null class unless
            `sample` is told ``conditional=True``.
        guide: classifier of clean images that guides.
        judge: scores the samples.
        noisy_guide: classifier of noisy images, needed by `ClassifierGuidance` alone.
        sampler: the sampler rule, the same for every method.
        clip: clips denoised estimates, the same for every method; None does not.
        class_names: one name a class.
        lookahead: the denoised estimate that gradients go through; None is `Tweedie`.
        window: log-SNRs (low, high) between which guidance acts; None is everywhere.
    """

    model: Model
    guide: Classifier
    judge: Judge
    noisy_guide: NoisyClassifier | None = None
    sampler: Sampler = DDIM()
    clip: Clip | None = Clip()
    class_names: tuple[str, ...] = CLASS_NAMES
    lookahead: Lookahead | None = None
    window: tuple[float, float] | None = None
    traced = ("model", "guide", "noisy_guide")

    def objective(self, guidance: Method) -> ClassLogProb:
        """The log-probability that the method ascends. Raises ValueError if the noisy guide is needed and missing."""
        if not isinstance(guidance, ClassifierGuidance):
            return class_log_prob(self.guide)
        if self.noisy_guide is None:
            raise ValueError("noisy_guide=None, but ClassifierGuidance needs a classifier of noisy images; load one")
        return noisy_class_log_prob(self.noisy_guide)

    def upper_cost(self, guidance: Method) -> Cost:
        """Calls per sample before a run is made; it can only be cheaper."""
        return upper_task_cost(self, guidance)

    def sample(
        self,
        key: PRNGKeyArray,
        targets: Int[AnyArray, " n"],
        guidance: Method,
        *,
        conditional: bool = False,
        index_offset: int | Array = 0,
    ) -> Samples:
        """One batch of samples; ``info["summary"]`` holds the objective at every step, (n, steps).

        Args:
            key: root key.
            targets: the requested classes, (n,).
            guidance: the method; None is unguided.
            conditional: also give the classes to the network itself.
            index_offset: global index of the first sample (traced).
        Raises:
            ValueError: as `tfg_jax.sample`.
        """
        return sample_task(
            self, key, targets, guidance, cond=targets if conditional else None, index_offset=index_offset,
            summary=_noisy_value if isinstance(guidance, ClassifierGuidance) else _value,
            reached=lambda objective, x0, target: objective(x0, target),
        )  # fmt: skip


def _value(ctx: StepContext) -> Array:
    return ctx.objective(ctx.lookahead()[0])


def _noisy_value(ctx: StepContext) -> Array:
    return ctx.noisy_objective(ctx.x)


@public
def balanced_targets(num_samples: int, classes: Sequence[int] = range(10)) -> Int[np.ndarray, " n"]:
    """``classes[i % len(classes)]`` for i < num_samples, int32. Raises ValueError for no samples or no classes."""
    check_count("num_samples", num_samples)
    if not len(classes):
        raise ValueError("classes is empty; name at least one class")
    return np.resize(np.asarray(classes, np.int32), num_samples)


@public
def load_label_task(
    model: str | os.PathLike[str] = "fashion-mnist",
    guide: str | os.PathLike[str] = "fashion-mnist-guide-estimates",
    evaluator: str | os.PathLike[str] = "fashion-mnist-evaluator",
    noisy_guide: str | os.PathLike[str] | None = None,
    *,
    weak: str | os.PathLike[str] | None = None,
    w: float | None = None,
    data: str | os.PathLike[str] | None = None,
    steps: int = 50,
    eta: float = 1.0,
    v: float | None = None,
    clip: bool = True,
) -> LabelTask:
    """The Fashion-MNIST task with the shipped weights, or with weights of your own.

    Args:
        model, guide, evaluator, noisy_guide: released names or folders of weights.
        weak: a worse model of the same kind, which `model` is guided away from by `Autoguidance`; None is none.
        w: the weight of that, as in `Autoguidance`; None is 1.
        data: folder of the original files, see `load_judge`.
        steps: DDIM steps, >= 1. eta: DDIM stochasticity in [0, 1].
        v: more noise than eta 1, in [0, 1], as `DDPM` has it; None is DDIM.
        clip: clip denoised estimates to [-1, 1].
    Raises:
        FileNotFoundError: no such weights or data.
        ValueError: damaged files, weights of the wrong kind, classes or sizes that do not match, bad steps, eta, v
            or w, both eta and v, or w without a weak model.
    """
    if w is not None and weak is None:
        raise ValueError(f"w={w} has no effect without weak; name the model to be guided away from")
    if v is not None and eta != 1.0:
        raise ValueError(f"eta={eta} has no effect with v={v}, which takes its place; drop one of them")
    sampler = DDIM(steps, eta) if v is None else DDPM(steps, v)
    good = load_as(model, Denoiser)
    guiding = load_as(guide, Classifier)
    judge = load_judge(evaluator, guide=guiding, data=data)
    noisy = None if noisy_guide is None else load_as(noisy_guide, NoisyClassifier)
    counts = {network.num_classes for network in (guiding, judge.evaluator, noisy) if network is not None}
    if len(counts) > 1:
        raise ValueError(
            f"guide={str(guide)!r} and the other classifiers differ in classes ({sorted(counts)}); match them"
        )
    count = counts.pop()
    names = CLASS_NAMES if count == len(CLASS_NAMES) else tuple(f"class {c}" for c in range(count))
    for role, network in (("guide", guiding), ("evaluator", judge.evaluator), ("noisy_guide", noisy)):
        if network is not None:
            check_reads(role, network, good.shape)
    away = good if weak is None else Autoguidance(good, load_as(weak, Denoiser), 1.0 if w is None else w)
    return LabelTask(away, guiding, judge, noisy, sampler, Clip() if clip else None, names)
