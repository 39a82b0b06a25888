"""What a search wants: one metric, or a pair with its Pareto front."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfg_jax.metrics.titles import COSTS, METRICS
from tfg_jax.search.trials import COST, Trial

Better = Literal["higher", "lower"]
KNOWN: dict[str, Better] = {"objective": "higher", COST: "lower", **dict.fromkeys(COSTS.values(), "lower")}
KNOWN |= {name: metric.better for name, metric in METRICS.items() if metric.better}


@dataclasses.dataclass(frozen=True)
class Aim:
    """One metric or two, and which values are better."""

    metrics: tuple[tuple[str, Better], ...]

    @classmethod
    def of(cls, *names: str) -> Aim:
        """From names of metrics.json, ``cost``, or ``name=lower`` and ``name=higher`` for numbers of one's own.

        Raises:
            ValueError: not one or two, one named twice, or one whose direction is not known.
        """
        metrics = []
        for text in names:
            name, _, said = text.partition("=")
            better = said or KNOWN.get(name, "")
            if better not in ("higher", "lower"):
                raise ValueError(
                    f"aim={text!r:.60} does not say which values are better; write {name}=higher or =lower"
                )
            metrics.append((name, better))
        if len(dict(metrics)) != len(names) or len(names) not in (1, 2):
            raise ValueError(f"aim={' '.join(names)!r:.80} must name one metric or two different ones")
        return cls(tuple(metrics))

    @property
    def names(self) -> list[str]:
        """Of the metrics."""
        return [name for name, _ in self.metrics]

    def interval(self, trial: Trial) -> np.ndarray:
        """Value, low and high ends of each metric, (metrics, 3), signed so that more is better; -inf throughout for a
        trial that lacks a number."""
        rows = []
        for name, better in self.metrics:
            one = trial.estimate(name)
            rows.append([one.value, one.low, one.high] if better == "higher" else [-one.value, -one.high, -one.low])
        signed = np.array(rows)
        return signed if np.isfinite(signed[:, 0]).all() else np.full_like(signed, -np.inf)

    def order(self, trials: Sequence[Trial]) -> list[Trial]:
        """Best first: by layers of the Pareto front, in these by the sum of the metrics as shares of their ranges, then
        by cost."""
        if not trials:
            return []
        points, layer = self._points(trials)
        finite = np.ma.masked_invalid(points)
        span = finite.max(0).filled(0.0) - (low := finite.min(0).filled(0.0))
        total = ((points - low) / np.where(span > 0, span, 1.0)).sum(1)
        order = sorted(range(len(trials)), key=lambda i: (layer[i], -total[i], trials[i].cost, i))
        return [trials[i] for i in order]

    def front(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that no other is better than in one metric and as good in all, best first; of one metric the best."""
        ordered = self.order([trial for trial in trials if np.isfinite(self.interval(trial)[0, 0])])
        first = sum(self._points(ordered)[1] == 0) if ordered else 0
        return ordered[: first if len(self.metrics) > 1 else 1]

    def clearly_worse(self, trial: Trial, than: Trial) -> bool:
        """Whether in every metric the whole interval lies below that of another."""
        return bool((self.interval(trial)[:, 2] < self.interval(than)[:, 1]).all())

    def _points(self, trials: Sequence[Trial]) -> tuple[np.ndarray, np.ndarray]:
        """Values (n, metrics), and of each trial how many fronts have to go before it is on one."""
        points = np.stack([self.interval(trial)[:, 0] for trial in trials])
        better = (points[None] >= points[:, None]).all(-1) & (points[None] > points[:, None]).any(-1)
        layer, left, level = np.zeros(len(points), int), np.ones(len(points), bool), 0
        while left.any():
            first = left & ~(better & left[None]).any(1)
            layer[first], left, level = level, left & ~first, level + 1
        return points, layer
