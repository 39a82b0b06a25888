"""What decides which candidates are tried: a function of the trials so far, so that a search can be taken up again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from tfg_jax.search.aim import Aim
from tfg_jax.search.space import Candidate, Space
from tfg_jax.search.trials import Trial


class Proposal(NamedTuple):
    """A candidate, and how many samples it is to be tried on."""

    candidate: Candidate
    samples: int


class Plan(NamedTuple):
    """What a search does at most."""

    candidates: int
    samples: int


@runtime_checkable
class Strategy(Protocol):
    """Proposes rounds of candidates until it has none. It keeps nothing: the trials say all that it goes by."""

    @property
    def samples(self) -> int:
        """Samples of a full trial, among which the best is chosen."""
        ...

    def propose(self, space: Space, aim: Aim, trials: Sequence[Trial]) -> list[Proposal]:
        """The next round, given all trials in the order of rounds; empty ends the search."""
        ...

    def plan(self, space: Space, aim: Aim) -> Plan:
        """What it does at most."""
        ...


def untried(candidates: Iterable[Candidate], trials: Sequence[Trial]) -> list[Candidate]:
    """Each candidate that has no trial, once, in order."""
    tried = {trial.candidate for trial in trials}
    return [each for each in dict.fromkeys(candidates) if each not in tried]
