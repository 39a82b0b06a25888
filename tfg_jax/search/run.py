"""The search itself: rounds that a strategy proposes, trials kept as they end, and a report on a seed of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.checks import check_number
from tfg_jax.kinds import public
from tfg_jax.result import finished
from tfg_jax.search.aim import Aim
from tfg_jax.search.evaluate import Arrays, Sampling
from tfg_jax.search.halving import Halving
from tfg_jax.search.result import Searched
from tfg_jax.search.setup import Search
from tfg_jax.search.space import Space
from tfg_jax.search.strategy import Proposal
from tfg_jax.search.trials import COST, Trial, TrialFile

REPORTED = 8
"""Points of a front that are reported, at most."""
MOST_FAILED = 0.1
"""Share of a trial's samples: of one where more failed it is not said how good the others are."""


@public
def search(
    task: Any,
    method: Any,
    *,
    aim: str | Sequence[str],
    path: str | Path,
    axes: Sequence[str] = (),
    strategy: Any = None,
    max_cost: float | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> Searched:
    """The best settings of a method for a task.

    Trials lie in ``trials.jsonl`` below ``path`` as they end: the same call goes on where an earlier one was stopped,
    with the same trials.

    Args:
        task: what is asked and scored.
        method: where the search starts; it changes the axes alone.
        aim: one metric or two, by their names in metrics.json, or ``cost`` (network evaluations a sample); one of your
            own as ``name=higher`` or ``name=lower``.
        path: folder of the trials.
        axes: as `axis_of` reads them; () is every strength of the method.
        strategy: `Halving`, `Beam`, `Optuna` or one of your own; None is `Halving`.
        max_cost: network evaluations (forwards and pullbacks) a sample may cost; None is any number.
        overwrite: forget the trials that are there.
        tell: called with a line a round; None writes nothing.
        **options: seed_search, seeds, seed_report, report_task, report_samples, conditional, chunk, budget of `Search`.
    Raises:
        ValueError: an axis, aim or number that cannot be meant, a seed or a learned evaluator that would both choose
            and report, or a folder with another search.
    """
    check_number("max_cost", max_cost, low=0.0)
    wanted = Aim.of(*([aim] if isinstance(aim, str) else aim))
    what = Search(Space.of(task, method, axes, max_cost), wanted, strategy or Halving(), **options)
    return run(what, Path(path), overwrite=overwrite, tell=tell)


def run(
    what: Search, path: Path, *, overwrite: bool = False, tell: Callable[[str], None] | None = None
) -> Searched:  # fmt: skip
    """As `search`, of what is put together already."""
    what.check()
    with TrialFile(path, what.config(), overwrite=overwrite) as file:
        rounds, trials = _Rounds(what, file), []
        while proposals := rounds.affordable(trials):
            latest = rounds.tried(proposals, trials[-1].round + 1 if trials else 0, trials)
            trials += latest
            if tell is not None:
                best = what.aim.order(latest)[0]
                said = ", ".join(f"{name} {best.estimate(name)}" for name in what.aim.names)
                tell(f"round {best.round}, {len(latest)} on {best.samples} samples: {best.candidate}, {said}")
        if not trials:
            raise ValueError(f"budget={what.budget} allows no trial; raise it")
        if not what.aim.front(trials):
            raise ValueError(f"aim={' '.join(what.aim.names)} has no number in any of {len(trials)} trials: their "
                             "samples failed or cannot be scored; start from smaller strengths")  # fmt: skip
        found = Searched(what, tuple(trials), ())
        chosen = dict.fromkeys([trial.candidate for trial in found.front[:REPORTED]] + [what.space.start])
        n = what.report_samples or what.strategy.samples
        reported = _Rounds(what.reporting, file).tried([Proposal(each, n) for each in chosen], -1, [])
        return dataclasses.replace(found, reported=tuple(reported))


class _Rounds:
    """Trials of proposals, those that are stored and the others computed."""

    def __init__(self, what: Search, file: TrialFile):
        self.what, self.file = what, file
        self.sampling = Sampling(what.space, what.roots, what.conditional, what.chunk)

    def affordable(self, trials: Sequence[Trial]) -> list[Proposal]:
        """What the strategy proposes, as far as the budget goes."""
        proposals = self.what.strategy.propose(self.what.space, self.what.aim, trials)
        if self.what.budget is None:
            return proposals
        left = self.what.budget - sum(trial.evaluations for trial in trials)
        spent = np.cumsum([self.evaluations(each, trials) for each in proposals])
        return proposals[: int(np.sum(spent <= left))]

    def evaluations(self, proposal: Proposal, trials: Sequence[Trial]) -> float:
        """Network evaluations that a proposal adds: samples of an earlier trial are used again."""
        earlier = [t.samples for t in trials if t.candidate == proposal.candidate and t.samples < proposal.samples]
        done = max((n for n in earlier if self.sampling.extends(n, proposal.samples)), default=0)
        return self.what.space.cost(proposal.candidate) * (proposal.samples - done)

    def tried(self, proposals: list[Proposal], number: int, trials: Sequence[Trial]) -> list[Trial]:
        """Trials in the order of the proposals, of a round of this number; below 0 it is the report."""
        self.sampling.keep_only(each.candidate for each in proposals)
        missing = [each for each in proposals if self.file.known(*each, number < 0) is None]
        for each, arrays, seconds in self.sampling.run(missing):
            cost, spent = self.what.space.cost(each.candidate), self.evaluations(each, trials)
            scores = self.scores(arrays, cost, seconds)
            said = {"scores": scores, "cost": cost, "evaluations": spent, "seconds": seconds}
            self.file.append(Trial(*each, number, self.sampling.seeds, **said))
        return [trial for each in proposals if (trial := self.file.known(*each, number < 0)) is not None]

    def scores(self, arrays: Arrays, cost: float, seconds: float) -> dict[str, list[float | None]]:
        """Every metric of the aim with its interval, None where too many samples failed: means are of the others.

        Raises:
            ValueError: a metric that the task does not give, or a task that cannot score.
        """
        task, status = self.what.space.task, np.asarray(arrays["status_code"])
        try:
            numbers = task.evaluate(arrays, seconds=seconds, config={}).numbers
        except Exception as error:  # of whoever wrote the scores, too
            raise ValueError(f"task={type(task).__name__} cannot score its samples ({type(error).__name__}: {error}); "
                             "mend that, earlier trials are kept") from error  # fmt: skip
        if COST in numbers and COST in self.what.aim.names:
            raise ValueError(f"aim={COST!r} is network evaluations a sample, and the task has a number of that name; "
                             "call it otherwise")  # fmt: skip
        numbers = {**numbers, COST: cost}
        failed = numbers.get("failed_samples", int((~finished(status)).sum())) / len(status)
        scores: dict[str, list[float | None]] = {}
        for name in self.what.aim.names:
            if failed < 1 and name not in numbers:
                known = [each for each, value in numbers.items() if isinstance(value, int | float)]
                raise ValueError(f"aim={name!r} is not among the task's numbers; there are {', '.join(known)}")
            ends = [numbers.get(key, numbers.get(name)) for key in (name, f"{name}_low", f"{name}_high")]
            told = [float(end) if end is not None and np.isfinite(end) else None for end in ends]
            scores[name] = told if failed <= MOST_FAILED else [None] * 3
        return scores
