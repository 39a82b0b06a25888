"""Are the samples different from each other? A high accuracy with one image per class is a collapsed generator."""

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.kinds import public
from tfg_jax.metrics.accuracy import probabilities
from tfg_jax.metrics.intervals import Estimate, bootstrap, mean_ci
from tfg_jax.rows import AnyArray


@public
def inception_score(
    logits: Float[AnyArray, "n K"], seed: int = 0, *, resamples: int = 200, level: float = 0.95
) -> Estimate:
    """Inception score with the given classifier in place of Inception, in [1, K]; higher is sharper and more diverse.

        exp( mean_i KL( p(y | x_i) || mean_j p(y | x_j) ) )

    logits: (n, K), finite, n >= 1. Returns the score with a bootstrap interval.
    Raises ValueError for non-finite logits. Source: Salimans et al., arXiv 1606.03498.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise ValueError(f"logits must be finite with shape (n, K), got shape {logits.shape}; drop failed samples.")

    def score(p: np.ndarray) -> float:
        marginal = p.mean(axis=0)
        # 0 log 0 = 0: a class that no sample can be contributes nothing.
        log_ratio = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(marginal > 0, marginal, 1.0))
        return float(np.exp((p * log_ratio).sum(axis=1).mean()))

    return bootstrap(probabilities(logits), score, seed, resamples=resamples, level=level, kind="centred")


@public
def distance_to_class(features: Float[AnyArray, "n F"], labels: Int[AnyArray, "n"]) -> Float[np.ndarray, "n"]:
    """Per sample: Euclidean distance to the mean of the *other* samples of its class; NaN if it has no others.

    features: (n, F). labels: (n,) the requested classes.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    distances = np.full(len(labels), np.nan)
    for c in np.unique(labels):
        members = labels == c
        size = members.sum()
        if size > 1:  # leaving one out only stretches the distance to the full mean
            offset = features[members] - features[members].mean(axis=0)
            distances[members] = np.linalg.norm(offset, axis=1) * size / (size - 1)
    return distances


@public
def intra_class_spread(features: Float[AnyArray, "n F"], labels: Int[AnyArray, "n"], level: float = 0.95) -> Estimate:
    """Mean `distance_to_class` of the samples that have one, in feature units; compare with real images' spread."""
    distances = distance_to_class(features, labels)
    return mean_ci(distances[np.isfinite(distances)], level)
