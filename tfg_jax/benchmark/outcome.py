"""What the finished rows of a suite say: one line a task and method, and the headline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np

from tfg_jax.benchmark.gains import Headline, Scores, headline, over_seeds
from tfg_jax.benchmark.rows import Cell, cells_of
from tfg_jax.benchmark.suite import Suite
from tfg_jax.metrics.intervals import Estimate, mean_ci, wilson
from tfg_jax.metrics.titles import METRICS

ACCURACY = "evaluator_accuracy"
"""Right or wrong, of independent samples: its interval is Wilson's."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A method on a task, over its targets and seeds.

    Attributes:
        task, method, metric: of the score.
        score: mean over samples, with its interval.
        also: further metrics by name.
        values: of the metric, (seeds, requests), NaN where a sample failed or no seed asks: another method's are of
            the same requests.
        evaluations, gradients: network evaluations and objective gradients of a sample.
        seconds: of a sample, compilation included.
        samples, failed: how many. rows, of: how many rows are done, of how many.
        settings: of the method, as text.
    """

    task: str
    method: str
    metric: str
    score: Estimate
    also: Mapping[str, Estimate]
    values: np.ndarray
    evaluations: float
    gradients: float
    seconds: float
    samples: int
    failed: int
    rows: int
    of: int
    settings: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The finished rows of a suite.

    Attributes:
        suite: it.
        known: results by the names of rows.
    """

    suite: Suite
    known: Mapping[str, Mapping[str, Any]]

    @cached_property
    def lines(self) -> list[Line]:
        """One a task and method that has a finished row, in the order of the suite."""
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells_of(self.suite):
            groups.setdefault((cell.task, cell.name), []).append(cell)
        return [line for each in groups.values() if (line := _line(each, self.known)) is not None]

    @cached_property
    def scores(self) -> list[Scores]:
        """Of every task, of the methods whose rows are all done."""
        tasks: dict[str, list[Line]] = {}
        for line in self.lines:
            if line.rows == line.of:
                tasks.setdefault(line.task, []).append(line)
        return [
            Scores(task, _better(lines[0].metric), {line.method: line.values for line in lines})
            for task, lines in tasks.items()
        ]

    @cached_property
    def headline(self) -> Headline | None:
        """The gain of the suite's method over the best of its baselines; None where it has none, or no rows yet."""
        return headline(self.scores, self.suite.headline, self.suite.baselines) if self.suite.headline else None

    @cached_property
    def beyond(self) -> Headline | None:
        """The same over further methods of the library together with the baselines, on tasks that have some."""
        if not self.suite.headline or not self.suite.beyond:
            return None
        known = [each for each in self.scores if set(self.suite.beyond) & set(each.values)]
        return headline(known, self.suite.headline, (*self.suite.baselines, *self.suite.beyond))


def _better(metric: str) -> Literal["higher", "lower"]:
    return cast(Literal["higher", "lower"], METRICS[metric].better)


def _line(cells: Sequence[Cell], known: Mapping[str, Mapping[str, Any]]) -> Line | None:
    """Rows of one task and method, of all targets and seeds."""
    done = [(each, known[each.row]["report"]) for each in cells if each.row in known]
    if not done:
        return None
    first, reports = cells[0], [report for _, report in done]
    samples = sum(report["samples"] for report in reports)
    metric = first.metric
    also = {name: each for name in first.entry.also if (each := _estimate(name, done)) is not None}
    mean = lambda key: float(np.mean([report["cost"][key] for report in reports]))  # noqa: E731
    settings = {each.target.name: _settings(each.method) for each in cells}
    texts = dict.fromkeys(settings.values())
    score = _estimate(metric, done) or Estimate(math.nan, -math.inf, math.inf, 0)
    return Line(
        task=first.task, method=first.name, metric=metric, score=score, also=also,
        values=_by_request(metric, done), evaluations=mean("forwards") + mean("pullbacks"),
        gradients=mean("objective"), seconds=sum(report["seconds"] for report in reports) / samples, samples=samples,
        failed=sum(report["failed"] for report in reports), rows=len(done), of=len(cells),
        settings=next(iter(texts)) if len(texts) == 1 else "by target",
    )  # fmt: skip


def _by_request(metric: str, done: Sequence[tuple[Cell, Mapping[str, Any]]]) -> np.ndarray:
    """Values (seeds, requests) of all targets; seeds of properties ask for other molecules each."""
    targets: dict[tuple[str, int], list[np.ndarray]] = {}
    for cell, report in done:
        values = np.array([np.nan if each is None else each for each in report["values"][metric]], np.float64)
        own = cell.seed if cell.entry.kind == "properties" else 0
        targets.setdefault((cell.target.name, own), []).append(values)
    seeds = max(map(len, targets.values()))
    stacks = [np.stack([*each, *[np.full_like(each[0], np.nan)] * (seeds - len(each))]) for each in targets.values()]
    return np.concatenate(stacks, axis=1)


def _estimate(metric: str, done: Sequence[tuple[Cell, Mapping[str, Any]]]) -> Estimate | None:
    """Of a metric of every sample: over requests, since seeds of one request are no independent evidence; of one that
    is a number of a whole row: the mean over rows."""
    if all(metric in report["values"] for _, report in done):
        if metric == ACCURACY:
            each = [value for _, report in done for value in report["values"][metric]]
            return wilson(round(sum(each)), len(each))
        values = over_seeds(_by_request(metric, done))
        return mean_ci(values[np.isfinite(values)])
    rows = [report["numbers"].get(metric) for _, report in done]
    if not rows or any(row is None or row[0] is None for row in rows):
        return None
    each = [Estimate.of(row, 1) for row in rows]
    mean = float(np.mean([one.value for one in each]))
    below, above = (float(np.linalg.norm([getattr(one, end) - one.value for one in each])) for end in ("low", "high"))
    return Estimate(mean, mean - below / len(each), mean + above / len(each),
                    sum(report["samples"] for _, report in done))  # fmt: skip


def _settings(method: Any) -> str:
    return "" if method is None else " ".join(repr(method).split())
