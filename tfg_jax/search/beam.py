"""The published search: one setting at a time, upward only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfg_jax.search.aim import Aim
from tfg_jax.search.space import Space
from tfg_jax.search.strategy import Plan, Proposal, untried
from tfg_jax.search.trials import Trial


@dataclasses.dataclass(frozen=True)
class Beam:
    """Beam search of TFG (Ye et al., NeurIPS 2024, arXiv 2409.15761): of the best few so far multiply one setting at a
    time, until all of these were tried.

    The start is the lowest corner: nothing ever decreases.

    Attributes:
        samples: of every trial.
        keep: how many of the best are moved on from.
        rounds: at most; the first is the start and its neighbors.
    """

    samples: int = 64
    keep: int = 2
    rounds: int = 6

    def propose(self, space: Space, aim: Aim, trials: Sequence[Trial]) -> list[Proposal]:
        """One step up on every axis, of the best so far."""
        if trials and trials[-1].round + 1 >= self.rounds:
            return []
        best = [trial.candidate for trial in aim.order(trials)[: self.keep]] or [space.start]
        new = [*([] if trials else best), *(move for each in best for move in space.moves(each, down=False))]
        return [Proposal(each, self.samples) for each in untried(new, trials)]

    def plan(self, space: Space, aim: Aim) -> Plan:
        """Every round in full."""
        candidates = 1 + len(space.axes) * (1 + (self.rounds - 1) * self.keep)
        return Plan(candidates, candidates * self.samples)
