"""What a search is: where, for what, by which strategy, and on which seeds and networks it chooses and reports."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from tfg_jax.checks import check_count, check_number, check_seed
from tfg_jax.runs.store import fingerprint
from tfg_jax.search.aim import Aim
from tfg_jax.search.halving import Halving
from tfg_jax.search.space import Space
from tfg_jax.search.strategy import Strategy
from tfg_jax.search.trials import COST
from tfg_jax.tasks.base import Task
from tfg_jax.tasks.code import code_hash


@dataclasses.dataclass(frozen=True)
class Search:
    """All that decides the trials. Checked by `check`.

    Attributes:
        space: where candidates lie.
        aim: what is wanted.
        strategy: what proposes.
        seed_search: root of the random numbers of trials; with the next ones, ``seeds`` of them.
        seeds: how many.
        seed_report: root of the random numbers of the report.
        report_task: what reports, with an evaluator and requests of its own; None is the task itself.
        report_samples: of the report; None is as many as a full trial has.
        conditional: also give the targets to the network itself.
        chunk: samples computed together.
        budget: network evaluations of all trials together, at most; None is any number.
    """

    space: Space
    aim: Aim
    strategy: Strategy = Halving()
    seed_search: int = 1000
    seeds: int = 2
    seed_report: int = 0
    report_task: Task | None = None
    report_samples: int | None = None
    conditional: bool = False
    chunk: int = 64
    budget: float | None = None

    @property
    def roots(self) -> tuple[int, ...]:
        """The seeds that choose."""
        return tuple(range(self.seed_search, self.seed_search + self.seeds))

    @property
    def reporting(self) -> Search:
        """What reports in the place of what chooses."""
        space = dataclasses.replace(self.space, task=self.report_task or self.space.task)
        return dataclasses.replace(self, space=space, seed_search=self.seed_report, seeds=1, report_task=None)

    def check(self) -> None:
        """Raise ValueError for numbers out of range, and where what chooses is also what reports."""
        for name in ("seeds", "chunk"):
            check_count(name, getattr(self, name))
        for seed in (self.seed_search, self.roots[-1]):
            check_seed("seed_search", seed)
        check_seed("seed_report", self.seed_report)
        check_number("max_cost", self.space.max_cost, low=0.0)
        check_number("budget", self.budget, low=0.0)
        check_count("samples", self.strategy.samples, 2)
        if self.report_samples is not None:
            check_count("report_samples", self.report_samples)
        if self.seed_report in self.roots:
            raise ValueError(f"seed_report={self.seed_report} (--seed) is among the seeds that choose, "
                             f"{', '.join(map(str, self.roots))}; a best that was chosen on a seed looks better on it, "
                             "so give another")  # fmt: skip
        for metric in self.aim.names:
            chooses, reports = (each.scored_by(metric) for each in (self, self.reporting))
            if weights_of(chooses) is not None and weights_of(chooses) == weights_of(reports):
                who = getattr(chooses, "name", type(chooses).__name__)
                raise ValueError(f"aim={metric} is given by {who!r}, which would both choose and report; a best that a "
                                 "network chose looks better to it, so give report_task another one (on the command "
                                 "line: another --search-evaluator), or aim at what no network gives")  # fmt: skip
        self.space.start  # noqa: B018  (raises)

    def scored_by(self, metric: str) -> Any:
        """The learned network that gives a metric of the aim; None where none has a part in it."""
        return None if metric == COST else self.space.task.scored_by(metric)

    @property
    def judged_apart(self) -> bool:
        """Whether a network reports that is another than the one that chooses."""
        pairs = [[each.scored_by(name) for each in (self, self.reporting)] for name in self.aim.names]
        return any(None not in pair and weights_of(pair[0]) != weights_of(pair[1]) for pair in pairs)

    def config(self) -> dict[str, Any]:
        """All that decides the trials, as JSON."""
        strategy: Any = self.strategy
        given = {name: getattr(self, name) for name in ("seeds", "seed_report", "report_samples", "budget")}
        return {
            "run": self._described(strategy.samples), "axes": [dataclasses.asdict(axis) for axis in self.space.axes],
            "aim": self.aim.metrics, "max_cost": self.space.max_cost, **given, "seeds": self.roots,
            "strategy": {"type": type(strategy).__name__, **_settings(strategy)},
            "report": self.reporting._described(self.report_samples or strategy.samples),
        }  # fmt: skip

    def _described(self, n: int) -> dict[str, Any]:
        task = self.space.task
        run = task.describe(self.space.method, self.conditional, task.targets(n))
        scored = {name: self.scored_by(name) for name in self.aim.names}
        known = {name: None if by is None else [weights_of(by), code_hash(by)] for name, by in scored.items()}
        return {**run, "scored_by": known}


def _settings(strategy: Any) -> dict[str, Any]:
    """Fields of a strategy of the library; of one's own its text, with what it holds."""
    if type(strategy).__module__.startswith("tfg_jax."):
        return dataclasses.asdict(strategy)
    return {"samples": strategy.samples, "code_sha256": code_hash(strategy)}


def weights_of(network: Any) -> str | None:
    """What tells a learned network from another; None for what has no weights."""
    arrays = [leaf for leaf in jax.tree.leaves(network) if hasattr(leaf, "dtype")]
    return fingerprint(arrays) if arrays else None
