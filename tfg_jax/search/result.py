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
        """Trials on all samples, which alone are compared for the best; with none, those on the most."""
        most = max(trial.samples for trial in self.trials)
        return [trial for trial in self.trials if trial.samples == most]

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
        """Of each axis the share of the first metric's variance over candidates that its value alone explains."""
        latest = {trial.candidate: trial for trial in sorted(self.trials, key=lambda trial: trial.samples)}
        scores = {each: float(self.search.aim.interval(trial)[0, 0]) for each, trial in latest.items()}
        scores = {each: score for each, score in scores.items() if np.isfinite(score)}
        total = float(np.var([*scores.values()] or [0.0])) * len(scores)
        shares = {}
        for name in (axis.name for axis in self.search.space.axes):
            groups: dict[Any, list[float]] = {}
            for each, score in scores.items():
                groups.setdefault(each.by_name[name], []).append(score - float(np.mean([*scores.values()])))
            shares[name] = sum(len(group) * float(np.mean(group)) ** 2 for group in groups.values()) / (total or 1.0)
        return shares

    @property
    def path(self) -> list[tuple[float, float]]:
        """After every full trial, network evaluations spent, and the first metric of the best full trial so far."""
        spent, steps, wanted, full = 0.0, [], {id(trial) for trial in self.full}, []
        for trial in self.trials:
            spent += trial.evaluations
            if id(trial) in wanted:
                full = self.search.aim.order([*full, trial])
                best = full[0].scores[self.search.aim.names[0]][0]
                steps.append((spent, np.nan if best is None else best))
        return steps

    def report_of(self, candidate: Candidate) -> Trial | None:
        """What was reported of a candidate."""
        return next((trial for trial in self.reported if trial.candidate == candidate), None)
