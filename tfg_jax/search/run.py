"""The search itself: rounds that a strategy proposes, trials kept as they end, and a report on a seed of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.checks import check_number
from tfg_jax.kinds import public
from tfg_jax.search.aim import Aim
from tfg_jax.search.axis import Axis, axis_of, strengths
from tfg_jax.search.evaluate import Arrays, Sampling
from tfg_jax.search.halving import Halving
from tfg_jax.search.result import Searched
from tfg_jax.search.setup import Search
from tfg_jax.search.space import Space
from tfg_jax.search.strategy import Proposal
from tfg_jax.search.trials import COST, Trial, TrialFile, open_trials

REPORTED = 8
"""Points of a front that are reported, at most."""


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
        ValueError: an axis, aim or number that cannot be meant, a seed or an evaluator that would both choose and
            report, or a folder with another search.
    """
    check_number("max_cost", max_cost, low=0.0)
    wanted = Aim.of(*([aim] if isinstance(aim, str) else aim))
    space = space_of(task, method, axes, max_cost)
    return run(Search(space, wanted, strategy or Halving(), **options), Path(path), overwrite=overwrite, tell=tell)


def space_of(task: Any, method: Any, axes: Sequence[str] = (), max_cost: float | None = None) -> Space:
    """The axes as `axis_of` reads them; () are all strengths of the method. ValueError for none, or one named twice."""
    names = tuple(axes) or tuple(strengths(task, method))
    if not names:
        raise ValueError("axes=() but the method has no strength to search; name axes, e.g. n_recur=1,2,4")
    found: list[Axis] = [axis_of(text, task, method) for text in names]
    if len({axis.name for axis in found}) < len(found):
        raise ValueError(f"axes={' '.join(names)!r:.80} names a setting twice; name each once")
    return Space(task, method, tuple(found), max_cost)


def run(
    what: Search, path: Path, *, overwrite: bool = False, tell: Callable[[str], None] | None = None
) -> Searched:  # fmt: skip
    """As `search`, of what is put together already."""
    what.check()
    with open_trials(path, what.config(), overwrite=overwrite) as file:
        sampling = Sampling(what.space, what.roots, what.conditional, what.chunk)
        trials: list[Trial] = []
        while proposals := _affordable(what, sampling, trials):
            number = trials[-1].round + 1 if trials else 0
            sampling.keep_only(each.candidate for each in proposals)
            latest = _round(what, sampling, file, proposals, number, trials)
            trials += latest
            if tell is not None:
                best = what.aim.order(latest)[0]
                tell(f"round {number}, {len(latest)} on {best.samples} samples: {best.candidate}, "
                     f"{said(what.aim, best)}")  # fmt: skip
        if not trials:
            raise ValueError(f"budget={what.budget} allows no trial; raise it")
        found = Searched(what, tuple(trials), ())
        chosen = list(dict.fromkeys([trial.candidate for trial in found.front[:REPORTED]] + [what.space.start]))
        reporting = dataclasses.replace(what, seed_search=what.seed_report, seeds=1)
        if what.report_task is not None:
            reporting = dataclasses.replace(
                reporting, space=dataclasses.replace(what.space, task=what.report_task), report_task=None
            )
        sampling = Sampling(reporting.space, reporting.roots, what.conditional, what.chunk)
        n = what.report_samples or what.strategy.samples
        reported = _round(reporting, sampling, file, [Proposal(each, n) for each in chosen], -1, [])
        return dataclasses.replace(found, reported=tuple(reported))


def said(aim: Aim, trial: Trial) -> str:
    """The scores of a trial in words."""
    scores = ((name, trial.scores[name][0]) for name, _ in aim.metrics)
    return ", ".join(f"{name} {'–' if value is None else format(value, '.4g')}" for name, value in scores)


def _affordable(what: Search, sampling: Sampling, trials: list[Trial]) -> list[Proposal]:
    """What the strategy proposes, as far as the budget goes."""
    proposals = what.strategy.propose(what.space, what.aim, trials)
    if what.budget is None:
        return proposals
    left, kept = what.budget - sum(trial.evaluations for trial in trials), []
    for each in proposals:
        left -= _evaluations(what, sampling, each, trials)
        if left < 0:
            break
        kept.append(each)
    return kept


def _evaluations(what: Search, sampling: Sampling, proposal: Proposal, trials: Sequence[Trial]) -> float:
    """Network evaluations that a proposal adds."""
    earlier = [t.samples for t in trials if t.candidate == proposal.candidate and t.samples < proposal.samples]
    done = max((n for n in earlier if sampling.extends(n, proposal.samples)), default=0)
    return what.space.cost(proposal.candidate) * (proposal.samples - done)


def _round(
    what: Search, sampling: Sampling, file: TrialFile, proposals: list[Proposal], number: int, trials: Sequence[Trial]
) -> list[Trial]:
    """Its trials in the order of the proposals: those that are stored, and the others computed and stored."""
    report = number < 0
    missing = [each for each in proposals if file.known(*each, report) is None]
    for each, arrays, seconds in sampling.run(missing):
        cost = what.space.cost(each.candidate)
        scores = _scores(what, arrays, cost, seconds)
        spent = _evaluations(what, sampling, each, trials)
        said = {"scores": scores, "cost": cost, "evaluations": spent, "seconds": seconds}
        file.append(Trial(each.candidate, each.samples, number, sampling.seeds, **said))
    known = [file.known(*each, report) for each in proposals]
    return [trial for trial in known if trial is not None]


def _scores(what: Search, arrays: Arrays, cost: float, seconds: float) -> dict[str, list[float | None]]:
    """Every metric of the aim with its interval."""
    numbers = {**what.space.task.evaluate(arrays, seconds=seconds, config={}).numbers, COST: cost}
    if unknown := [name for name, _ in what.aim.metrics if name not in numbers and not _all_failed(arrays)]:
        known = [name for name, value in numbers.items() if isinstance(value, int | float)]
        raise ValueError(f"aim={unknown[0]!r} is not among the task's numbers; there are {', '.join(known)}")
    scores = {}
    for name, _ in what.aim.metrics:
        ends = [numbers.get(key, numbers.get(name)) for key in (name, f"{name}_low", f"{name}_high")]
        scores[name] = [float(end) if end is not None and np.isfinite(end) else None for end in ends]
    return scores


def _all_failed(arrays: Arrays) -> bool:
    return not np.isfinite(arrays["x"]).reshape(len(arrays["x"]), -1).all(1).any()
