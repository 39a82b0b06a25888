"""What a search is: where, for what, by which strategy, and on which seeds it chooses and reports."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from tfg_jax.checks import check_count, check_number
from tfg_jax.runs.store import fingerprint
from tfg_jax.search.aim import Aim
from tfg_jax.search.halving import Halving
from tfg_jax.search.space import Space
from tfg_jax.search.strategy import Strategy, described
from tfg_jax.tasks.base import Task


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
        report_task: whose evaluator reports; None is the task itself.
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

    def check(self) -> None:
        """Raise ValueError for numbers out of range, and where what chooses is also what reports."""
        for name, low in (("seed_search", 0), ("seed_report", 0), ("seeds", 1), ("chunk", 1)):
            check_count(name, getattr(self, name), low)
        check_number("max_cost", self.space.max_cost, low=0.0)
        check_number("budget", self.budget, low=0.0)
        check_count("samples", self.strategy.samples, 2)
        if self.seed_report in self.roots:
            raise ValueError(f"seed_report={self.seed_report} is among the seeds that choose, "
                             f"{', '.join(map(str, self.roots))}; a best that was chosen on a seed looks better on it, "
                             "so give another")  # fmt: skip
        same = self.report_task is not None and _evaluator(self.report_task) == _evaluator(self.space.task)
        if same:
            raise ValueError("report_task has the evaluator that chooses; a best that an evaluator chose looks better "
                             "to it, so give another, or leave it out to keep the seeds alone apart")  # fmt: skip
        self.space.start  # noqa: B018  (raises)

    def config(self) -> dict[str, Any]:
        """All that decides the trials, as JSON."""
        task, n = self.space.task, self.strategy.samples
        return {
            "run": task.describe(self.space.method, self.conditional, task.targets(n)),
            "evaluator_sha256": _evaluator(task), "axes": [dataclasses.asdict(axis) for axis in self.space.axes],
            "aim": self.aim.metrics, "max_cost": self.space.max_cost, "strategy": described(self.strategy),
            "seeds": self.roots, "seed_report": self.seed_report, "report_samples": self.report_samples,
            "report_evaluator_sha256": _evaluator(self.report_task), "budget": self.budget,
        }  # fmt: skip


def _evaluator(task: Any) -> str | None:
    """What tells an evaluator from another; None where a task has none."""
    evaluator = getattr(task, "evaluator", None)
    network = getattr(evaluator, "network", evaluator)
    arrays = [leaf for leaf in jax.tree.leaves(network) if hasattr(leaf, "dtype")]
    return fingerprint(arrays) if arrays else None
