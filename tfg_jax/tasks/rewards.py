"""Differentiable rewards of images for `tfg_jax.optimize`: higher is better, no target.

class_log_odds   log p(c | x) / (1 - p(c | x)) of a classifier: unbounded, so it never saturates
brightness       mean pixel value, in [-1, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tfg_jax.checks import check_count
from tfg_jax.objectives.base import FromFn, from_fn
from tfg_jax.objectives.classifier import Classifier
from tfg_jax.tasks.label import class_of, names_of
from tfg_jax.tasks.scoring import check_reads, load_as


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


class Reward(NamedTuple):
    """A reward with its name, labels of every batch, and the networks that decide the samples."""

    objective: FromFn
    labels: dict[str, np.ndarray]
    name: str
    networks: dict[str, Any]


def reward_of(
    kind: str, request: str | None, model: Any, guide: Any, batch: int, *, names: Sequence[str], default: str
) -> Reward:
    """The reward that options name.

    Args:
        kind: "class" or "brightness".
        request: the class, by number or name; None is ``default``.
        model: whose samples are rewarded.
        guide: classifier of the class, by name or itself.
        batch: samples a round.
        names: of the classes.
        default: the class where none is asked for.
    Raises:
        ValueError: a request that is no class or has no effect, or a guide that does not read the samples.
    """
    networks: dict[str, Any] = {"model": model.params}
    if kind == "brightness":
        if request is not None:
            raise ValueError(f"request={request} has no effect on the reward brightness; drop it")
        return Reward(brightness(), {}, "brightness", networks)
    guide = load_as(guide, Classifier)
    check_reads("guide", guide, model.shape)
    word, names = request or default, names_of(guide.num_classes, names)
    wanted = class_of("request", word, names)
    labels = {"target": np.full(batch, wanted, np.int32)}
    name = f"log-odds of {names[wanted]}"
    return Reward(class_log_odds(guide, wanted), labels, name, networks | {"guide": guide.params})


def _log_odds(params: tuple[Classifier, Array], x0: Array, target: PyTree) -> Array:
    classifier, wanted = params
    logits = classifier(x0)
    others = jnp.where(jnp.arange(logits.shape[0]) == wanted, -jnp.inf, logits)
    return logits[wanted] - jax.nn.logsumexp(others)


def _brightness(params: None, x0: Array, target: PyTree) -> Array:
    return x0.mean()
