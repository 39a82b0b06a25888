"""Are the samples the posterior? Spread of several draws, and distances to exact samples where there are some."""

import numpy as np
from jaxtyping import Float

from tfg_jax.checks import check_count
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate, bootstrap
from tfg_jax.rows import AnyArray


@public
def spread_map(draws: Float[AnyArray, "n m *shape"]) -> Float[np.ndarray, "n *shape"]:
    """Standard deviation of every pixel over the m draws of each measurement, unbiased in its square.

    draws: (n, m, ...), m >= 2. Raises ValueError for fewer draws.
    """
    if np.ndim(draws) < 3 or np.shape(draws)[1] < 2:
        raise ValueError(f"draws must be (n, m, ...) with m >= 2 draws a measurement, got shape {np.shape(draws)}.")
    return np.asarray(draws, np.float64).std(axis=1, ddof=1)


@public
def posterior_spread(draws: Float[AnyArray, "n m *shape"]) -> Float[np.ndarray, "n"]:
    """Root mean square of `spread_map` over the pixels: one number a measurement, in units of the image."""
    spread = spread_map(draws)
    return np.sqrt((spread**2).reshape(len(spread), -1).mean(axis=1))


@public
def sliced_wasserstein(
    samples: Float[AnyArray, "n D"],
    exact: Float[AnyArray, "m _"],
    seed: int = 0,
    *,
    projections: int = 128,
    resamples: int = 200,
    level: float = 0.95,
) -> Estimate:
    """Sliced 2-Wasserstein distance to exact samples, with a bootstrap interval over ours.

        sqrt( mean over unit directions u of  W2^2(u . samples, u . exact) )

    The directions are random, the same for the same seed and D. Two sets of one distribution are not at 0: their
    distance is the floor to compare with.

    samples: (n, D), finite. exact: (m, D), taken as exact. projections, resamples: >= 1 and >= 2.
    Raises ValueError for sets that are not finite matrices of one width. Source: Bonneel et al., JMIV 51, 2015.
    """
    ours, exact = _checked(samples, exact)
    check_count("seed", seed, low=0)
    check_count("projections", projections)
    directions = np.random.default_rng(seed).normal(size=(ours.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    theirs = np.sort(exact @ directions, axis=0)
    # Both sets have one quantile a stratum, at as many strata as the larger has samples.
    strata = (np.arange(max(len(ours), len(exact))) + 0.5) / max(len(ours), len(exact))
    theirs = theirs[(strata * len(exact)).astype(int)]

    def distance(projected: np.ndarray) -> float:
        mine = np.sort(projected, axis=0)[(strata * len(projected)).astype(int)]
        return float(np.sqrt(((mine - theirs) ** 2).mean()))

    return bootstrap(ours @ directions, distance, seed, resamples=resamples, level=level, kind="centred")


@public
def mmd(
    samples: Float[AnyArray, "n D"],
    exact: Float[AnyArray, "m _"],
    seed: int = 0,
    *,
    scale: float | None = None,
    resamples: int = 200,
    level: float = 0.95,
) -> Estimate:
    """Squared maximum mean discrepancy to exact samples, unbiased (so it may be below 0), with a bootstrap interval.

        mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j),   k = exp(-|a - b|^2 / (2 scale^2))

    samples: (n, D), finite, n >= 2. exact: (m, D), taken as exact, m >= 2.
    scale: of the kernel, > 0; None is the median distance between exact samples.
    Raises ValueError for sets that are not finite matrices of one width. Source: Gretton et al., JMLR 13, 2012.
    """
    ours, exact = _checked(samples, exact)
    n, m = len(ours), len(exact)
    if min(n, m) < 2:
        raise ValueError(f"samples and exact must each hold at least 2 samples, got {n} and {m}.")
    within = _squared(exact, exact)
    if scale is None:
        scale = float(np.sqrt(np.median(within[np.triu_indices(m, 1)])))
    if not scale > 0:
        raise ValueError(f"scale must be > 0, got {scale}; the exact samples may be all alike.")
    kernel = lambda squared: np.exp(-0.5 * squared / scale**2)  # noqa: E731
    same, across = kernel(_squared(ours, ours)), kernel(_squared(ours, exact)).mean(axis=1)
    exact_part = (kernel(within).sum() - m) / (m * (m - 1))

    def statistic(index: np.ndarray) -> float:
        own = (same[np.ix_(index, index)].sum() - n) / (n * (n - 1))
        return float(own + exact_part - 2.0 * across[index].mean())

    return bootstrap(np.arange(n), statistic, seed, resamples=resamples, level=level, kind="centred")


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T, 0.0)


def _checked(samples: AnyArray, exact: AnyArray) -> tuple[np.ndarray, np.ndarray]:
    ours, exact = np.asarray(samples, np.float64), np.asarray(exact, np.float64)
    if ours.ndim != 2 or exact.ndim != 2 or ours.shape[1] != exact.shape[1] or not len(ours) or not len(exact):
        raise ValueError(f"samples and exact must be (n, D) and (m, D), got {ours.shape} and {exact.shape}.")
    if not (np.isfinite(ours).all() and np.isfinite(exact).all()):
        raise ValueError("samples and exact must be finite; drop failed samples.")
    return ours, exact
