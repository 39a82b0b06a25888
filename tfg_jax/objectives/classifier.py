"""Classifiers as objectives: ``log p(target | x0)`` from clean images, ``log p(target | x_t, t)`` from noisy ones.

A classifier says which input range its network was trained on; samples live in [-1, 1] and are mapped to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count, is_concrete, show
from tfg_jax.kinds import public
from tfg_jax.modules import partition
from tfg_jax.networks import check_evaluation, check_function
from tfg_jax.schedules import Level


@struct.dataclass
class Classifier:
    """A network of clean samples as ``classifier(x) -> logits`` for one sample.

    Attributes:
        params: weights, any pytree.
        apply: ``(params, x) -> logits (num_classes,)`` of one sample in the network's own input range.
        num_classes: number of classes, >= 2.
        input_range: (low, high) the network was trained on; samples in [-1, 1] are mapped to it.
        features_of: ``(params, x) -> features (F,)`` of one sample, for Fréchet distances; None if it has none.
        name: what it is called in reports, and how scoring with the guide is noticed.
    """

    params: PyTree
    apply: Callable[[PyTree, Array], Array] = struct.field(pytree_node=False)
    num_classes: int = struct.field(pytree_node=False)
    input_range: tuple[float, float] = struct.field(pytree_node=False, default=(-1.0, 1.0))
    features_of: Callable[[PyTree, Array], Array] | None = struct.field(pytree_node=False, default=None)
    name: str = struct.field(pytree_node=False, default="classifier")

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, " classes"]:
        """Logits of one sample in [-1, 1]."""
        return self.apply(self.params, self._map(x))

    def features(self, x: Float[Array, "*shape"]) -> Float[Array, " features"]:
        """Penultimate features of one sample in [-1, 1].

        Raises:
            ValueError: the classifier has no features.
        """
        if self.features_of is None:
            raise ValueError(f"classifier {self.name!r} has no features; give features_of or use one that has them")
        return self.features_of(self.params, self._map(x))

    def _map(self, x: Array) -> Array:
        low, high = self.input_range
        return x if (low, high) == (-1.0, 1.0) else low + (x + 1.0) * (0.5 * (high - low))


@struct.dataclass
class NoisyClassifier:
    """A network of noisy samples as ``classifier(x, level) -> logits`` for one sample.

    Attributes:
        params: weights, any pytree.
        apply: ``(params, x / sqrt(alpha^2 + sigma^2), log_snr) -> logits (num_classes,)`` of one sample.
        num_classes: number of classes, >= 2.
        name: what it is called in reports.
    """

    params: PyTree
    apply: Callable[[PyTree, Array, Array], Array] = struct.field(pytree_node=False)
    num_classes: int = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False, default="noisy-classifier")

    def __call__(self, x: Float[Array, "*shape"], level: Level) -> Float[Array, " classes"]:
        """Logits of one noisy sample at ``level``, on any schedule."""
        return self.apply(self.params, x / level.scale, level.log_snr)


@struct.dataclass
class ClassLogProb:
    """``log softmax(classifier(x))[target]``; build it with `class_log_prob` or `noisy_class_log_prob`."""

    classifier: Any
    noisy: bool = struct.field(pytree_node=False, default=False)

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """The target must be (num_samples,) integers in [0, num_classes)."""
        check_classes("target", target, num_samples, self.classifier.num_classes)

    def usable(self, target: Int[Array, ""]) -> Array:
        """Whether the class is in range."""
        return (target >= 0) & (target < self.classifier.num_classes)

    def __call__(self, x: Float[Array, "*shape"], target: Int[Array, ""], *level: Level) -> Float[Array, ""]:
        logits = self.classifier(x, *level)
        if logits.shape != (self.classifier.num_classes,):
            raise ValueError(
                f"the classifier returns shape {logits.shape}, num_classes={self.classifier.num_classes} needs "
                f"({self.classifier.num_classes},); give the number of its logits"
            )
        return jax.nn.log_softmax(logits)[jnp.asarray(target).astype(jnp.int32)]


@public
def class_log_prob(classifier: Any) -> ClassLogProb:
    """The objective ``log p(target | x0)`` of a classifier of clean samples; targets are (n,) class indices.

    Raises:
        ValueError: the classifier is one of noisy samples, or none.
    """
    if isinstance(classifier, NoisyClassifier):
        raise ValueError(f"classifier {classifier.name!r} reads noisy samples; use noisy_class_log_prob")
    return ClassLogProb(_checked(classifier, "(params, x)"))


@public
def noisy_class_log_prob(classifier: Any) -> ClassLogProb:
    """The objective ``log p(target | x_t, t)`` of a time-dependent classifier, for `ClassifierGuidance`.

    Raises:
        ValueError: the classifier is one of clean samples, or none.
    """
    if isinstance(classifier, Classifier):
        raise ValueError(f"classifier {classifier.name!r} reads clean samples; use class_log_prob")
    return ClassLogProb(_checked(classifier, "(params, x, log_snr)"), noisy=True)


def _checked(classifier: Any, arguments: str) -> Any:
    """A classifier with traceable weights; one of the user's own class as it is."""
    if isinstance(classifier, type) or not hasattr(classifier, "num_classes"):
        raise ValueError(
            f"classifier={show(classifier)} has no num_classes; wrap it, e.g. Classifier(params, apply, 10)"
        )
    check_count("classifier.num_classes", classifier.num_classes, low=2)
    check_evaluation("classifier", classifier)
    if not isinstance(classifier, Classifier | NoisyClassifier):
        return classifier
    check_function("classifier.apply", classifier.apply, arguments)
    apply, params = partition("classifier.params", classifier.apply, classifier.params)
    return classifier if apply is classifier.apply else dataclasses.replace(classifier, apply=apply, params=params)


def check_classes(name: str, value: Any, num_samples: int, num_classes: int, *, each: tuple[int, ...] = ()) -> None:
    """Raise ValueError unless ``value`` is (num_samples, *each) integers in [0, num_classes)."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape != (num_samples, *each) or dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        fix = f"give {'one class' if not each else f'{each[0]} classes'} a sample"
        if isinstance(value, list | tuple):
            fix = f"pass jnp.asarray({name})"
        raise ValueError(
            f"{name} must be {(num_samples, *each)} integer classes, got shape {shape} and dtype {dtype}; {fix}"
        )
    if is_concrete(value):
        numbers = np.asarray(value)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= num_classes):
            worst = int(numbers.max()) if numbers.max() >= num_classes else int(numbers.min())
            raise ValueError(
                f"{name} holds class {worst}, outside 0..{num_classes - 1}; the network has {num_classes} classes"
            )
