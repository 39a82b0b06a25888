"""Precision and recall of a generator by nearest-neighbour manifolds (Kynkäänniemi et al., NeurIPS 2019, 1904.06991).

    precision   share of generated samples that lie within the k-th neighbour's distance of some real sample
    recall      share of real samples that lie within the k-th neighbour's distance of some generated sample

Both depend on the two counts: compare numbers only at equal n and m. float64 on the host, memory n x m.
"""

import numpy as np
from jaxtyping import Float

from tfg_jax.checks import check_count
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate, wilson
from tfg_jax.rows import AnyArray


@public
def precision_recall(
    features: Float[AnyArray, "n F"], real: Float[AnyArray, "m G"], k: int = 3, level: float = 0.95
) -> tuple[Estimate, Estimate]:
    """Precision and recall with Wilson intervals, which hold the other set's manifold for exact.

    Args:
        features: (n, F) of generated samples, n > k.
        real: (m, F) of real samples, m > k.
        k: neighbours that make a manifold, >= 1; 3 in the paper.
        level: coverage in (0, 1).

    Raises:
        ValueError: too few samples, or features that are not finite or differ in size.
    """
    check_count("k", k)
    a, b = np.asarray(features, np.float64), np.asarray(real, np.float64)
    for name, each in (("features", a), ("real", b)):
        if each.ndim != 2 or len(each) <= k or not np.isfinite(each).all():
            raise ValueError(f"{name} must be finite with shape (n, F), n > k={k}, got {each.shape}; draw more")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features has {a.shape[1]} entries a sample, real {b.shape[1]}; use one network for both")
    across = _squares(a, b)
    inside_real = (across <= _radii(b, k)[None, :]).any(axis=1)
    inside_made = (across <= _radii(a, k)[:, None]).any(axis=0)
    return wilson(int(inside_real.sum()), len(a), level), wilson(int(inside_made.sum()), len(b), level)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * a @ b.T, 0.0)


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each point to its k-th neighbour, itself not counted."""
    return np.partition(_squares(points, points), k, axis=1)[:, k]
