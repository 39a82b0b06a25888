"""Confidence intervals: Wilson for proportions, Student's t for means, the bootstrap for everything else.

Plain numpy in float64 on the host: metrics are small, and their error bars should not depend on a device's precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, log10, nan, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Num

from tfg_jax.checks import check_count
from tfg_jax.kinds import public
from tfg_jax.rows import AnyArray


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval [low, high] and the count n of samples behind it."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, stored: Sequence[float | None], n: int) -> "Estimate":
        """From value and ends as JSON keeps them, None for what is not finite: a value that is NaN, infinite ends."""
        absent = (nan, -inf, inf)
        value, low, high = (gone if each is None else each for each, gone in zip(stored, absent, strict=True))
        return cls(value, low, high, n)

    def __str__(self) -> str:
        """As `0.871 [0.85, 0.89]`: no more digits than the interval's width supports.

        Without an interval as `23.23 (n = 1, no interval)`; a value that is no number is a dash.
        """
        if not isfinite(self.value):
            return "–"
        width = self.high - self.low
        if not isfinite(width):
            return f"{self.value:.4g} ({'n = 1, ' if self.n == 1 else ''}no interval)"
        decimals = max(0, ceil(-log10(width / 2))) if width > 0 else 3
        value = f"{self.value:.{decimals + 1}f}" if width > 0 else f"{self.value:.4g}"
        return f"{value} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


@public
def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Wilson score interval of a proportion; unlike the normal one it is honest at 0 and 1 and for small n.

        centre = (p + z^2 / 2n) / (1 + z^2 / n),   half = z sqrt(p (1-p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    successes: how many of the n trials succeeded, 0 <= successes <= n; n = 0 returns NaN in [0, 1].
    level: coverage in (0, 1). Raises ValueError outside these ranges.
    """
    check_level(level)
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got successes={successes} and n={n}.")
    if n == 0:
        return Estimate(nan, 0.0, 1.0, 0)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    # At p = 0 and p = 1 an end is exactly p; round-off must not leave the value outside its interval.
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), int(n))


@public
def mean_ci(values: Num[AnyArray, "n"], level: float = 0.95) -> Estimate:
    """Mean with its Student t interval, `mean +- t_{n-1} std / sqrt(n)`.

    values: (n,) finite per-sample values. One value has an infinite interval; none gives NaN.
    level: coverage in (0, 1). Raises ValueError for values that are not a finite vector.
    """
    from scipy.special import stdtrit  # a dependency of jax already; its import is not free

    check_level(level)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"values must be a vector of finite numbers, got shape {values.shape}; mask failed samples.")
    n = len(values)
    if n < 2:
        return Estimate(float(values.mean()) if n else nan, -inf, inf, n)
    mean = float(values.mean())
    half = float(stdtrit(n - 1, 0.5 + level / 2) * values.std(ddof=1) / sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


@public
def bootstrap(
    values: Num[AnyArray, "n *rest"],
    statistic: Callable[[np.ndarray], float],
    seed: int = 0,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    kind: Literal["percentile", "centred"] = "percentile",
) -> Estimate:
    """Bootstrap interval of any statistic of independent samples; the same seed gives the same interval. One sample,
    which resampling only repeats, has an infinite interval.

    values: (n, ...) samples along the first axis, n >= 1.
    statistic: maps resampled values, same shape, to a number.
    kind: "percentile", the quantiles of the resampled statistic; "centred", the same quantiles moved so that their mean
        is the estimate, for statistics whose bias grows when samples repeat (Frechet distance, entropies).
    Raises ValueError for no samples, resamples < 2, or an unknown kind. Source: Efron, Ann. Statist. 7(1), 1979.
    """
    check_level(level)
    check_count("seed", seed, low=0)
    values = np.asarray(values)
    n = len(values)
    if n == 0 or resamples < 2:
        raise ValueError(f"values and resamples must be at least 1 and 2, got {n} values and resamples={resamples}.")
    if kind not in ("percentile", "centred"):
        raise ValueError(f"kind must be 'percentile' or 'centred', got {kind!r}.")
    rng = np.random.default_rng(seed)
    estimate = float(statistic(values))
    if n == 1:
        return Estimate(estimate, -inf, inf, n)
    resampled = np.array([statistic(values[rng.integers(n, size=n)]) for _ in range(resamples)], np.float64)
    low, high = np.quantile(resampled, [0.5 - level / 2, 0.5 + level / 2])
    shift = estimate - resampled.mean() if kind == "centred" else 0.0
    return Estimate(estimate, float(low + shift), float(high + shift), n)


def check_level(level: float) -> None:
    """Raise ValueError unless level, a coverage probability, lies in (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; 0.95 is usual.")
