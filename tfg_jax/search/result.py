"""What a search found."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfg_jax.search.setup import Search
from tfg_jax.search.space import Candidate
from tfg_jax.search.trials import Trial


@dataclasses.dataclass(frozen=True)
class Searched:
    """A finished search.

    Attributes:
        search: what was asked.
        trials: in the order of rounds.
        reported: trials of the best ones, and of the start, on the report's seed and evaluator.
    """

    search: Search
    trials: tuple[Trial, ...]
    reported: tuple[Trial, ...]

    @property
    def full(self) -> list[Trial]:
        """Trials with numbers on all samples, which alone are compared for the best; with none, those on the most."""
        told = [trial for trial in self.trials if np.isfinite(self.search.aim.interval(trial)[:, 0]).all()]
        most = max(trial.samples for trial in told)
        return [trial for trial in told if trial.samples == most]

    @property
    def front(self) -> list[Trial]:
        """The Pareto front of the full trials, best first; of one metric the best alone."""
        return self.search.aim.front(self.full)

    @property
    def best(self) -> Trial:
        """The best full trial; of a pair, the one with the highest sum of both as shares of their ranges."""
        return self.search.aim.order(self.full)[0]

    @property
    def method(self) -> Any:
        """The method of the best; what else it may have changed is in `task`."""
        return self.search.space.built(self.best.candidate)[1]

    @property
    def task(self) -> Any:
        """The task with the sampler, lookahead and window of the best."""
        return self.search.space.built(self.best.candidate)[0]

    @property
    def importance(self) -> dict[str, float]:
        """Of each axis the share in [0, 1] of the first metric's variance over candidates that its value (or which
        quarter of many it is in) explains beyond what as many groups explain by chance.

        Source: epsilon squared, Kelley, PNAS 21(9), 1935.
        """
        latest = {trial.candidate: trial for trial in sorted(self.trials, key=lambda trial: trial.samples)}
        scores = {each: float(self.search.aim.interval(trial)[0, 0]) for each, trial in latest.items()}
        scores = {each: score for each, score in scores.items() if np.isfinite(score)}
        total = float(np.var([*scores.values()] or [0.0])) * len(scores)
        total *= total > len(scores) * (1e-12 * max(map(abs, scores.values()), default=0.0)) ** 2  # of round-off alone
        shares = {}
        for axis in self.search.space.axes:
            levels: Any = [each.by_name[axis.name] for each in scores]
            if not axis.values and len(set(levels)) > 4:
                levels = np.searchsorted(np.quantile(levels, [0.25, 0.5, 0.75]), levels).tolist()
            groups: dict[Any, list[float]] = {}
            for level, score in zip(levels, scores.values(), strict=True):
                groups.setdefault(level, []).append(score)
            within, free = sum(len(g) * float(np.var(g)) for g in groups.values()), len(scores) - len(groups)
            explained = 1.0 - within / free * (len(scores) - 1) / total if free and total else 0.0
            shares[axis.name] = max(explained, 0.0)
        return shares

    @property
    def path(self) -> list[tuple[float, float]]:
        """After every full trial, network evaluations spent, and the first metric of the best full trial so far."""
        spent, steps, wanted, full = 0.0, [], {id(trial) for trial in self.full}, []
        for trial in self.trials:
            spent += trial.evaluations
            if id(trial) in wanted:
                full = self.search.aim.order([*full, trial])
                steps.append((spent, full[0].estimate(self.search.aim.names[0]).value))
        return steps

    def report_of(self, candidate: Candidate) -> Trial | None:
        """What was reported of a candidate."""
        return next((trial for trial in self.reported if trial.candidate == candidate), None)
