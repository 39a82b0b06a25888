"""Frechet distance between the Gaussians fitted to two sets of features (Heusel et al., arXiv 1706.08500).

    d^2 = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^{1/2}

Everything is float64 on the host. With factors C = L L^T the last trace is the nuclear norm of L_a^T L_b, whose
singular values need no square root of round-off: rank-deficient covariances (fewer samples than features) are safe.

The estimate is biased upwards for small n, by about c / n with c depending on the generator (arXiv 1911.07023): compare
numbers only at equal n and against the same reference, and never with distances in another network's features.
"""

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import nan

import numpy as np
from jaxtyping import Float

from tfg_jax.checks import check_count
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate, bootstrap
from tfg_jax.rows import MOST_KEPT, AnyArray
from tfg_jax.struct import short_repr

MOST_NUMBERS = 2**23
"""In the covariances of all groups that are resampled."""


@dataclass(frozen=True, repr=False)
class Moments:
    """Mean (F,), unbiased covariance (F, F) and count of a set of feature vectors, in float64."""

    mean: Float[np.ndarray, "F"]
    cov: Float[np.ndarray, "F F"]
    n: int

    def __repr__(self) -> str:
        return short_repr(self)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets together, exactly (Chan et al., 1979): features can be streamed in chunks."""
        n = self.n + other.n
        gap = other.mean - self.mean
        scatter = (self.n - 1) * self.cov + (other.n - 1) * other.cov + np.outer(gap, gap) * (self.n * other.n / n)
        return Moments(self.mean + gap * (other.n / n), scatter / (n - 1), n)


@public
def moments(features: Float[AnyArray, "n F"]) -> Moments:
    """Moments of finite feature vectors (n, F), n >= 1. Raises ValueError otherwise."""
    features = _checked(features, "features")
    mean = features.mean(axis=0)
    centred = features - mean
    return Moments(mean, centred.T @ centred / max(len(features) - 1, 1), len(features))


@public
def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Frechet (2-Wasserstein) distance d^2 >= 0 of the two Gaussians, the quantity called FID on Inception
    features; in squared units of the features. Raises ValueError if the feature sizes differ."""
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"a and b must have the same number of features, got {a.mean.shape} and {b.mean.shape}.")
    return _distance(a, b, _factor(b.cov))


@public
def frechet_with_ci(
    features: Float[AnyArray, "n F"],
    reference: Moments | Float[AnyArray, "m F"],
    seed: int = 0,
    *,
    resamples: int = 200,
    level: float = 0.95,
) -> Estimate:
    """Frechet distance to a fixed reference with a bootstrap interval over the samples.

    The interval is the spread expected from drawing n samples again, at the same n; it does not remove the small-n bias
    (see the module), which resampling with repeats enlarges, so the resampled distances are centred on the estimate.
    More than ten thousand samples are resampled by groups of them, so that none of their features need be kept.

    features: (n, F), finite, n >= 2. reference: real features (m, F) or their moments, taken as exact.
    Returns the squared distance, n the number of samples. Raises ValueError for fewer than two samples.
    """
    n = len(features)
    if n < 2:
        raise ValueError(f"features must hold at least two samples, got {n}; draw more.")
    target = reference if isinstance(reference, Moments) else moments(reference)
    factor = _factor(target.cov)
    if n <= MOST_KEPT:
        drawn = _checked(features, "features")
        distance = lambda part: _distance(moments(part), target, factor)  # noqa: E731
    else:
        groups = _groups(features)
        drawn = np.arange(len(groups))
        distance = lambda part: _distance(reduce(Moments.merge, (groups[i] for i in part)), target, factor)  # noqa: E731
    interval = bootstrap(drawn, distance, seed, resamples=resamples, level=level, kind="centred")
    return Estimate(interval.value, max(0.0, interval.low), interval.high, n)


@public
def equal_size(*sets: Float[AnyArray, "_ F"], seed: int = 0) -> tuple[np.ndarray, ...]:
    """Random subsets of equal size, the smallest set's, without replacement, to compare at equal bias."""
    check_count("seed", seed, low=0)
    size, rng = min(len(s) for s in sets), np.random.default_rng(seed)
    return tuple(np.asarray(s)[np.sort(rng.permutation(len(s))[:size])] for s in sets)


def _groups(features: AnyArray) -> list[Moments]:
    """Moments of 100 groups of features that follow each other, or of less where there are many features."""
    n, size = features.shape
    cuts = np.linspace(0, n, max(20, min(100, MOST_NUMBERS // size**2)) + 1).astype(int)
    return [
        reduce(Moments.merge, (moments(features[at : min(at + MOST_KEPT, end)]) for at in range(start, end, MOST_KEPT)))
        for start, end in pairwise(cuts.tolist())
    ]


def _distance(a: Moments, b: Moments, factor_b: np.ndarray) -> float:
    if not (np.isfinite(a.cov).all() and np.isfinite(b.cov).all()):
        return nan
    overlap = np.linalg.svd(_factor(a.cov).T @ factor_b, compute_uv=False).sum()
    gap = a.mean - b.mean
    return max(0.0, float(gap @ gap + np.trace(a.cov) + np.trace(b.cov) - 2 * overlap))


def _factor(cov: np.ndarray) -> np.ndarray:
    """L with cov = L L^T; eigenvalues that are round-off are dropped, or each would leave 1e-8 in the distance."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])


def _checked(features: AnyArray, name: str) -> np.ndarray:
    array = np.asarray(features, np.float64)
    if array.ndim != 2 or not len(array) or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite with shape (n, F), n >= 1, got shape {array.shape}; drop failed samples."
        )
    return array
