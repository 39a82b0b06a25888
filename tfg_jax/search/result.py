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
        values = np.array([score for score in scores.values() if np.isfinite(score)])
        if len(values) < 2 or not (total := float(values.var() * len(values))):
            return {axis.name: 0.0 for axis in self.search.space.axes}
        shares = {}
        for axis in self.search.space.axes:
            groups: dict[Any, list[float]] = {}
            for each, score in scores.items():
                if np.isfinite(score):
                    groups.setdefault(each.by_name[axis.name], []).append(score)
            shares[axis.name] = sum(len(g) * (float(np.mean(g)) - float(values.mean())) ** 2 for g in groups.values())
        return {name: share / total for name, share in shares.items()}

    @property
    def path(self) -> list[tuple[float, float]]:
        """Network evaluations spent, and the first metric of the best full trial so far, whenever that changed."""
        spent, steps = 0.0, []
        full: list[Trial] = []
        wanted = {id(trial) for trial in self.full}
        for trial in self.trials:
            spent += trial.evaluations
            if id(trial) in wanted:
                full.append(trial)
                best = self.search.aim.order(full)[0].scores[self.search.aim.metrics[0][0]][0]
                steps.append((spent, np.nan if best is None else best))
        return steps

    def report_of(self, candidate: Candidate) -> Trial | None:
        """What was reported of a candidate."""
        return next((trial for trial in self.reported if trial.candidate == candidate), None)
