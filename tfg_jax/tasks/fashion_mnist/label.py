"""The label task with the shipped networks, or with networks of your own on the same images."""

from __future__ import annotations

import os
from typing import Any

from tfg_jax.data import fashion_mnist
from tfg_jax.data.sample import load_sample
from tfg_jax.denoiser import Denoiser
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier
from tfg_jax.samplers.base import Sampler
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.tasks.fashion_mnist.data import DATA
from tfg_jax.tasks.fashion_mnist.presets import LABEL_PRESETS
from tfg_jax.tasks.label import LabelTask, label_task
from tfg_jax.tasks.scoring import Evaluator, evaluator_of, load_as


@public
def load_evaluator(
    evaluator: str | os.PathLike[str] = DATA.networks["evaluator"],
    *,
    guide: Classifier | None = None,
    data: str | os.PathLike[str] | None = None,
) -> Evaluator:
    """An evaluator with the evaluator's shipped moments of the test set.

    Args:
        evaluator: released name, or folder of weights.
        guide: the classifier that guided; the library warns (UserWarning) if it is the evaluator itself.
        data: folder of the original Fashion-MNIST files: all its test images stand for real ones, in place of the
            hundred that are shipped, and give the moments of an evaluator that comes without.
    Raises:
        FileNotFoundError: no such weights or data.
        ValueError: damaged files, or weights of another kind.
    """
    load_as(evaluator, Classifier)  # the first complaint is about the network
    images = load_sample()[0] if data is None else fashion_mnist.load("test", data)[0]
    return evaluator_of(evaluator, guide=guide, images=images, all_of_them=data is not None)


@public
def load_label_task(
    model: Any = DATA.networks["model"],
    guide: str | os.PathLike[str] = DATA.networks["guide"],
    evaluator: str | os.PathLike[str] = DATA.networks["evaluator"],
    noisy_guide: str | os.PathLike[str] | None = None,
    *,
    weak: str | os.PathLike[str] | None = None,
    w: float | None = None,
    data: str | os.PathLike[str] | None = None,
    steps: int = 50,
    eta: float = 1.0,
    v: float | None = None,
    clip: bool = True,
    sampler: Sampler | None = None,
) -> LabelTask:
    """The Fashion-MNIST task with the shipped weights, or with weights of your own.

    Args:
        model, guide, evaluator, noisy_guide: released names or folders of weights; the model may be one itself.
        weak: a worse model of the same kind, which `model` is guided away from by `Autoguidance`; None is none.
        w: the weight of that, as in `Autoguidance`; None is 1.
        data: folder of the original files, see `load_evaluator`.
        steps: DDIM steps, >= 1. eta: DDIM stochasticity in [0, 1].
        v: more noise than eta 1, in [0, 1], as `DDPM` has it; None is DDIM.
        clip: clip denoised estimates to [-1, 1].
        sampler: in place of the one that steps, eta and v give.
    Raises:
        FileNotFoundError: no such weights or data.
        ValueError: damaged files, weights of the wrong kind, classes or sizes that do not match, bad steps, eta, v
            or w, both eta and v, or w without a weak model.
    """
    if v is not None and eta != 1.0:
        raise ValueError(f"eta={eta} has no effect with v={v}, which takes its place; drop one of them")
    good, guiding = load_as(model, Denoiser), load_as(guide, Classifier)
    scoring = load_evaluator(evaluator, guide=guiding, data=data)
    return label_task(
        good, guiding, scoring, None if noisy_guide is None else load_as(noisy_guide, NoisyClassifier),
        weak=None if weak is None else load_as(weak, Denoiser), w=w, class_names=fashion_mnist.CLASS_NAMES,
        sampler=sampler or (DDIM(steps, eta) if v is None else DDPM(steps, v)), clip=Clip() if clip else None,
        tuned=LABEL_PRESETS,
    )  # fmt: skip
