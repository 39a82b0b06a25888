"""Whether samples of a class look like real images of it, apart from how many are of the class that was asked for."""

from typing import NamedTuple

import numpy as np

from tfg_jax.data import fashion_mnist
from tfg_jax.tasks.scoring import Evaluator


class Named(NamedTuple):
    """Features of images (n, F), and the class (n,) that the evaluator calls each."""

    features: np.ndarray
    called: np.ndarray


def named(evaluator: Evaluator, x: np.ndarray) -> Named:
    """What the evaluator says of images (n, H, W, C)."""
    scores = evaluator.score(x)
    return Named(np.asarray(scores.features), scores.evaluator_logits.argmax(-1))


def by_class(samples: Named, real: Named) -> dict[str, float]:
    """For each class the squared distance of the mean features of samples and real images that are called it."""
    distances = {}
    for c, name in enumerate(fashion_mnist.CLASS_NAMES):
        ours, theirs = (each.features[each.called == c] for each in (samples, real))
        apart = ((ours.mean(0) - theirs.mean(0)) ** 2).sum() if len(ours) else np.nan
        distances[name] = round(float(apart), 1)
    return distances
