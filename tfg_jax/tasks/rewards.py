"""Differentiable rewards of images for `tfg_jax.optimize`: higher is better, no target.

class_log_odds   log p(c | x) / (1 - p(c | x)) of a classifier: unbounded, so it never saturates
brightness       mean pixel value, in [-1, 1]
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax.checks import check_count
from tfg_jax.objectives.base import FromFn, from_fn
from tfg_jax.objectives.classifier import Classifier


def class_log_odds(classifier: Classifier, wanted: int) -> FromFn:
    """The log-odds that a classifier gives to class ``wanted``.

    Raises:
        ValueError: the classifier has no such class.
    """
    check_count("wanted", wanted, low=0)
    if wanted >= classifier.num_classes:
        raise ValueError(f"wanted={wanted} is outside 0..{classifier.num_classes - 1}, the classifier's classes")
    return from_fn(_log_odds, (classifier, jnp.asarray(wanted, jnp.int32)))


def brightness() -> FromFn:
    """The mean pixel value."""
    return from_fn(_brightness)


def _log_odds(params: tuple[Classifier, Array], x0: Array, target: PyTree) -> Array:
    classifier, wanted = params
    logits = classifier(x0)
    others = jnp.where(jnp.arange(logits.shape[0]) == wanted, -jnp.inf, logits)
    return logits[wanted] - jax.nn.logsumexp(others)


def _brightness(params: None, x0: Array, target: PyTree) -> Array:
    return x0.mean()
