"""The headline of the TFG paper: the mean over tasks of a method's relative gain over the best baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from tfg_jax.checks import check_choice, check_count
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import AnyArray, Estimate, mean_ci

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Gain:
    """Of a method over the best baseline of one task.

    Attributes:
        task, baseline: of which task, over which baseline.
        estimate: relative gain, 0.1 for a tenth better, with its 95 % interval over samples.
    """

    task: str
    baseline: str
    estimate: Estimate


@dataclasses.dataclass(frozen=True)
class Headline:
    """Of a method over the best baseline of each task.

    Attributes:
        gains: of every task.
        mean: of them, with its interval over the samples of these tasks; n is their number.
        over_tasks: the same with an interval over tasks, as if they were drawn from many like them.
        wins: tasks in which the method is better than every baseline.
    """

    gains: tuple[Gain, ...]
    mean: Estimate
    over_tasks: Estimate
    wins: int


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of one task.

    Attributes:
        task: its name.
        better: which values are.
        values: of every method, (samples,) or (seeds, samples): an entry of each is of the same request, NaN where it
            failed.
    """

    task: str
    better: Literal["higher", "lower"]
    values: Mapping[str, Float[AnyArray, "*seeds n"]]

    def pair(self, method: str, baseline: str) -> Float[np.ndarray, "2 n"]:
        """Values of both, means over the seeds with which both finished; NaN where there is none."""
        values = np.stack([np.atleast_2d(np.asarray(self.values[name], np.float64)) for name in (method, baseline)])
        return np.stack([over_seeds(each) for each in np.where(np.isfinite(values).all(0), values, np.nan)])


def over_seeds(values: Float[np.ndarray, "seeds n"]) -> Float[np.ndarray, " n"]:
    """Means of what is finite; NaN where nothing is."""
    count = np.isfinite(values).sum(0)
    return np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)


@public
def relative_gain(value: float, baseline: float, better: Literal["higher", "lower"]) -> float:
    """How much better a value is, as a share of the baseline: 0.1 for a tenth; NaN over a baseline of 0."""
    check_choice("better", better, ("higher", "lower"))
    return (value - baseline if better == "higher" else baseline - value) / abs(baseline) if baseline else float("nan")


@public
def headline(tasks: Sequence[Scores], method: str, baselines: Sequence[str], *, seed: int = 0) -> Headline | None:
    """The mean over tasks of the relative gain of a method over the best of some baselines.

    Two methods are compared on the requests that both finished. The best is that on the samples at hand, by whose noise
    it looks better than it is. Intervals resample the requests of each task, those of both methods together (2000
    times), and leave the choice of the best as it is. Tasks with as many requests are resampled alike: these may be
    the same, such as images that several problems degrade.

    Args:
        tasks: scores of each; those without the method, without a baseline, or with a best baseline of 0, do not count.
        method: whose gain.
        baselines: over which.
        seed: of the resampling.
    Returns:
        The gains, or None if no task counts.
    """
    check_count("seed", seed, 0)
    gains, resampled = [], []
    for scores in tasks:
        pairs = {name: scores.pair(method, name) for name in baselines if {name, method} <= set(scores.values)}
        pairs = {name: pair for name, pair in pairs.items() if np.isfinite(pair).any()}
        if not pairs:
            continue
        sign = 1.0 if scores.better == "higher" else -1.0
        best = min(pairs, key=lambda name: sign * np.nanmean(pairs[name][0] - pairs[name][1]))
        ours, its = np.nanmean(pairs[best], axis=1).tolist()
        gain = relative_gain(ours, its, scores.better)
        if np.isfinite(gain):
            again = _resampled(pairs[best], scores.better, np.random.default_rng(seed))
            gains.append(Gain(scores.task, best, _estimate(gain, again, pairs[best].shape[1])))
            resampled.append(again)
    if not gains:
        return None
    values = np.array([each.estimate.value for each in gains])
    mean = _estimate(float(values.mean()), np.mean(resampled, axis=0), len(gains))
    return Headline(tuple(gains), mean, mean_ci(values), int((values > 0).sum()))


def _resampled(pair: np.ndarray, better: str, rng: np.random.Generator) -> np.ndarray:
    """The gain on requests drawn again, (resamples,)."""
    n, sign = pair.shape[1], 1.0 if better == "higher" else -1.0
    both = pair[:, np.isfinite(pair).all(0)]
    if both.shape[1] > 1 and set(np.unique(both)) <= {0.0, 1.0} and not np.ptp(both, axis=1).any():
        # All right or all wrong: resampling would repeat that for ever. Draws by Jeffreys' prior of a proportion.
        right = both.sum(1)
        means = rng.beta(right + 0.5, both.shape[1] - right + 0.5, (RESAMPLES, 2))
        return sign * (means[:, 0] - means[:, 1]) / means[:, 1]
    counts = rng.multinomial(n, np.full(n, 1.0 / n), RESAMPLES)
    finite = np.isfinite(pair)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (counts @ np.where(finite, pair, 0.0).T) / (counts @ finite.T)
        return sign * (means[:, 0] - means[:, 1]) / np.abs(means[:, 1])


def _estimate(value: float, resampled: np.ndarray, n: int) -> Estimate:
    finite = resampled[np.isfinite(resampled)]
    if len(finite) < RESAMPLES // 2 or np.ptp(finite) == 0.0:
        return Estimate(value, -np.inf, np.inf, n)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)), n)
