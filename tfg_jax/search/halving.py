"""The default search: neighbors above and below, few samples for many, more for those that are left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tfg_jax.search.aim import Aim
from tfg_jax.search.space import Candidate, Space
from tfg_jax.search.strategy import Plan, Proposal, untried
from tfg_jax.search.trials import Trial

FEWEST = 8


@dataclasses.dataclass(frozen=True)
class Halving:
    """Local search by successive halving (Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943).

    A cycle tries the neighbors of the best candidate, one step up and down on every axis, on a part of the samples; the
    better half goes on to twice as many, until the full number. What is worse beyond its interval than the best on as
    many samples, which are the same ones, goes no further. The best full trial is the next center. A cycle that finds
    none better halves the steps, from ``coarsest`` on, and after ``refinements`` of these ends the search.

    Attributes:
        samples: of a full trial.
        first: share of them that a cycle begins with, but no fewer than `FEWEST`, which say nothing.
        cycles: at most.
        coarsest: power of an axis's factor that its steps begin with.
        refinements: how often they are halved.
        centers: of a pair of metrics, how many of the front are moved on from.
    """

    samples: int = 64
    first: float = 0.25
    cycles: int = 8
    coarsest: float = 2.0
    refinements: int = 2
    centers: int = 3

    @property
    def fewest(self) -> int:
        """Samples that a cycle begins with."""
        return min(self.samples, max(FEWEST, math.ceil(self.samples * self.first)))

    def propose(self, space: Space, aim: Aim, trials: Sequence[Trial]) -> list[Proposal]:
        """The better half of a round that was not full, or the neighbors of the best."""
        if not trials:
            near = [space.start, *space.moves(space.start, power=self.coarsest)]
            return [Proposal(each, self.fewest) for each in near]
        latest = [trial for trial in trials if trial.round == trials[-1].round]
        if latest[0].samples < self.samples and (left := self._survivors(aim, latest, trials)):
            return [Proposal(each.candidate, min(2 * latest[0].samples, self.samples)) for each in left]
        return self._next_cycle(space, aim, trials)

    def _survivors(self, aim: Aim, latest: list[Trial], trials: Sequence[Trial]) -> list[Trial]:
        """The better half, without those that are clearly worse than the best of them and of all."""
        ordered, best = aim.order(latest), self._centers(aim, trials)
        bars = [trial for trial in trials if trial.samples == latest[0].samples and trial.candidate in best]
        half = ordered[: math.ceil(len(ordered) / 2)]
        return [trial for trial in half if not any(aim.clearly_worse(trial, bar) for bar in [*ordered[:1], *bars])]

    def _centers(self, aim: Aim, trials: Sequence[Trial], before: int | float = math.inf) -> list[Candidate]:
        full = [trial for trial in trials if trial.samples == self.samples and trial.round < before]
        return [trial.candidate for trial in aim.front(full)[: self.centers]]

    def _next_cycle(self, space: Space, aim: Aim, trials: Sequence[Trial]) -> list[Proposal]:
        starts = sorted({trial.round for trial in trials if trial.samples == self.fewest})
        reached = [self._centers(aim, trials, before) for before in [*starts, math.inf]]
        failures = sum(before == after for before, after in zip(reached, reached[1:], strict=False))
        if len(starts) >= self.cycles:
            return []
        for finer in range(failures, self.refinements + 1):
            power = self.coarsest * 0.5**finer
            near = [move for each in reached[-1] for move in space.moves(each, power=power)]
            if new := untried(near, trials):
                return [Proposal(each, self.fewest) for each in new]
        return []

    def plan(self, space: Space, aim: Aim) -> Plan:
        """Every cycle in full: of a pair of metrics from as many centers as there may be."""
        first, more = 1 + 2 * len(space.axes), self.cycles - 1
        later = 2 * len(space.axes) * (self.centers if len(aim.metrics) > 1 else 1)
        return Plan(first + later * more, self._samples_of(first) + self._samples_of(later) * more)

    def _samples_of(self, candidates: int) -> int:
        """What a cycle takes that begins with so many."""
        n, samples = self.fewest, candidates * self.fewest
        while n < self.samples:
            candidates, more = math.ceil(candidates / 2), min(2 * n, self.samples)
            samples, n = samples + candidates * (more - n), more
        return samples
