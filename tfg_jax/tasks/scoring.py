"""Scoring of labelled samples by a network that did not guide them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from tfg_jax import struct
from tfg_jax.checks import show
from tfg_jax.metrics import Moments, check_independent, classify, features, moments
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier
from tfg_jax.references import given_by, is_reference
from tfg_jax.rows import MOST_KEPT, AnyArray, Rows
from tfg_jax.weights.released import input_shape, load, load_moments

Network = TypeVar("Network")


@dataclass(frozen=True)
class Scores:
    """What the networks say of n samples: evaluator's logits (n, K), its features (n, F), the guide's logits (n, K)."""

    evaluator_logits: Float[np.ndarray, "n K"]
    features: Float[np.ndarray, "n F"] | None
    guide_logits: Float[np.ndarray, "n K"] | None


@struct.dataclass
class Evaluator:
    """An evaluator with what it compares samples to.

    Attributes:
        network: classifier that scores; it should not be the guide.
        moments: of the evaluator's features of real test images, for Fréchet distances; None leaves them out.
        images: (m, H, W, C) real images in [-1, 1], for texture; None leaves it out.
        guide: the classifier that guided, to show how far it was pleased; None leaves it out.
    """

    network: Classifier
    moments: Moments | None = None
    images: Float[AnyArray, "m H W C"] | None = None
    guide: Classifier | None = None

    def score(self, x: Float[AnyArray, "n H W C"]) -> Scores:
        """Scores of n samples in [-1, 1]."""
        return Scores(
            classify(self.network, x),
            features_of(self.network, x) if self.moments is not None else None,
            classify(self.guide, x) if self.guide is not None else None,
        )


def features_of(network: Classifier, x: Any) -> Any:
    """Features of images; of many that are read when they are needed, features that are computed when they are."""
    lazily = isinstance(x, Rows) and len(x) > MOST_KEPT
    return x.map(lambda part, _: features(network, part)) if lazily else features(network, x)


def evaluator_of(
    evaluator: Any, *, guide: Classifier | None = None, images: Float[AnyArray, "m H W C"] | None, all_of_them: bool
) -> Evaluator:
    """An evaluator with the evaluator's shipped moments of the test set.

    Args:
        evaluator: released name, folder of weights, or a classifier.
        guide: the classifier that guided; the library warns (UserWarning) if it is the evaluator itself.
        images: real images.
        all_of_them: whether they are enough to give the moments of an evaluator that comes without.
    Raises:
        FileNotFoundError: no such weights.
        ValueError: damaged files, or weights of another kind.
    """
    network = load_as(evaluator, Classifier)
    if guide is not None:
        check_independent(guide, network)
    reference = None
    try:
        reference = None if network is evaluator else Moments(*load_moments(evaluator))
    except FileNotFoundError:
        fits = images is not None and input_shape(network) in (None, np.shape(images)[1:])
        if all_of_them and images is not None and network.features_of is not None and fits:
            reference = moments(features(network, images))
    return Evaluator(network, reference, images, guide)


def check_reads(role: str, network: Classifier | NoisyClassifier, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a network, `role` in the message, reads samples of the model's shape; nothing is run."""
    if (needed := input_shape(network)) not in (None, shape):
        size, wanted = (" x ".join(map(str, each)) for each in (shape, needed))
        raise ValueError(
            f"{role}={network.name!r} reads images of {wanted}, but the model samples {size}; give another {role}"
        )


def check_samples(source: str, shape: tuple[int, ...], role: str, name: Any, network: Classifier) -> None:
    """Raise ValueError unless the network in that role, given by that name, reads samples of a source's shape."""
    if (needed := input_shape(network)) not in (None, shape):
        size, wanted = (" x ".join(map(str, each)) for each in (shape, needed))
        raise ValueError(f"{source} holds images of {size}, {role}={name} needs {wanted}; resize or crop them, or give "
                         f"another {role}")  # fmt: skip


def check_features(role: str, network: Classifier, shape: tuple[int, ...]) -> None:
    """As `check_reads`, of a network whose features are needed."""
    check_reads(role, network, shape)
    if network.features_of is None:
        raise ValueError(f"{role}={network.name!r} has no features; give one that has, such as the shipped evaluator")


def network_of(role: str, given: Any, kind: type[Network]) -> Network:
    """A network by released name or folder, what code of a reference gives, or one itself. ValueError for another
    kind."""
    text = str(given)
    if not isinstance(given, str | os.PathLike) or not is_reference(text) or Path(text).is_dir():
        return load_as(given, kind)
    return given_by(role, text, kind, f"a {kind.__name__} is needed; mend it", default=role)


def load_as(name: Any, kind: type[Network]) -> Network:
    """Weights that must be of one kind, e.g. `Classifier`, or such a network. ValueError if they are of another."""
    named = isinstance(name, str | os.PathLike)
    network = load(name) if named else name
    if not isinstance(network, kind):
        said = f"{str(name)!r} holds" if named else f"{show(name)} is"
        raise ValueError(f"{said} a {type(network).__name__}, a {kind.__name__} is needed; give other weights")
    return network
