"""A suite on a folder: rows computed once and kept, in any number of processes, then one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tfg_jax.benchmark.outcome import Outcome
from tfg_jax.benchmark.read import read_suite
from tfg_jax.benchmark.rows import LACKS, study_of
from tfg_jax.benchmark.sources import Sources
from tfg_jax.benchmark.suite import Suite
from tfg_jax.checks import check_count, check_seed
from tfg_jax.kinds import public
from tfg_jax.runs.study import Result, Row, Study
from tfg_jax.runs.workers import Worker
from tfg_jax.studies import progress


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A suite on a folder; networks are loaded when rows are computed, or when stored ones are compared with them.

    Attributes:
        suite: it.
        folder: of results and samples.
        use: what stands for the names of needs and of released networks: a name, a folder, ``file.py:name``, or itself.
        only: words of tasks, targets or methods; () is all.
        worker: number i of n computes every n-th row alone; None is all of them.
    """

    suite: Suite
    folder: Path
    use: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only: tuple[str, ...] = ()
    worker: Worker | None = None

    @cached_property
    def sources(self) -> Sources:
        """What was handed in. Raises ValueError for a name that the suite does not know."""
        return Sources(self.suite, self.use)

    @cached_property
    def study(self) -> Study:
        """All rows."""
        return study_of(self.suite, self.folder, self.sources)

    @cached_property
    def rows(self) -> list[Row]:
        """Those that are chosen, and this worker's. Raises ValueError for a word that no row has."""
        chosen = self.study.selected(self.only)
        return chosen if self.worker is None else chosen[self.worker.index :: self.worker.count]

    @property
    def ready(self) -> Study:
        """The chosen rows whose needs are met. Raises ValueError if there are others alone."""
        rows = [row for row in self.rows if not row.shown[LACKS]]
        if not rows and self.rows:
            lacks = dict.fromkeys(name for row in self.rows for name in row.shown[LACKS].split(", "))
            raise ValueError(f"suite {self.suite.name!r} lacks {', '.join(lacks)}; --dry-run says what these are, and "
                             "--use NAME=WHAT hands them in")  # fmt: skip
        return dataclasses.replace(self.study, rows=rows)

    def plan(self) -> list[dict[str, Any]]:
        """What the chosen rows cost, a line a task and method."""
        known, lines = self.known(), {}
        for row in self.rows:
            key = (row.labels["task"], row.labels["method"])
            line = lines.setdefault(key, {
                "task": key[0], "method": key[1], "rows": 0, "samples": 0, "evaluations": row.evaluations,
                "all evaluations": 0, "minutes": 0.0, "done": 0, LACKS: row.shown[LACKS],
            })  # fmt: skip
            line["rows"] += 1
            line["samples"] += row.samples
            line["all evaluations"] += int(row.evaluations * row.samples)
            line["minutes"] += row.seconds / 60
            line["done"] += row.name in known
        return list(lines.values())

    @property
    def seconds(self) -> float:
        """That the missing rows take at a usual speed, compilation aside; those of unknown speed count nothing."""
        known = self.known()
        return sum((row.seconds for row in self.ready.rows if row.name not in known), 0.0)

    def known(self) -> dict[str, Result]:
        """Results by row, of one set of networks and images a task: those of now, or where some were not handed in
        this time those of its first row."""
        stored, inputs = self.study.known(), {}
        for row in self.study.rows:
            if row.name in stored and row.table not in inputs:
                inputs[row.table] = stored[row.name].get("inputs") if row.shown[LACKS] else row.inputs()
        tables = {row.name: row.table for row in self.study.rows}
        return {name: each for name, each in stored.items() if each.get("inputs") == inputs[tables[name]]}

    def needs(self) -> list[dict[str, Any]]:
        """What has to be handed in for the chosen rows, for which tasks, and whether it was."""
        wanted = {name for row in self.rows for name in row.config["needs"]}
        return [
            {
                "name": need.name, "gives": f"{need.gives}{', optional' * need.optional}",
                "given": self.sources.has(need.name),
                "for": ", ".join(entry.name for entry in self.suite.tasks if need.name in entry.needs),
                "architecture": need.architecture or None, "source": need.source, "how": need.how or None,
            }
            for need in self.suite.needs if need.name in wanted
        ]  # fmt: skip

    def compute(self) -> None:
        """Compute what is missing, under one bar.

        Raises:
            Interrupted: on a signal; what is finished is kept.
            ValueError: nothing can be computed, or networks and data that do not fit a row.
        """
        progress.compute([(self.ready, ())])

    def outcome(self) -> Outcome:
        """What all finished rows of the suite say, whichever process computed them."""
        return Outcome(self.suite, self.known())


@public
def run_suite(
    suite: Suite | str | Path,
    path: str | Path,
    *,
    use: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    samples: int | None = None,
    seeds: Sequence[int] = (),
) -> Outcome:
    """Run a suite, or what is missing of it.

    Args:
        suite: one of `suite_names`, a file, or a `Suite`.
        path: folder of results and samples; the same call goes on where an earlier one was stopped.
        use: what stands for the suite's needs and released networks, by name: a released name, a folder of weights,
            pictures, ``file.py:name`` or ``module:name``, or the thing itself.
        only: tasks, targets or methods; () is all.
        samples: of a row, in place of the suite's.
        seeds: in place of the suite's.
    Raises:
        ValueError: a suite, word, name or network that cannot be meant, or needs that are not met.
    """
    if samples is not None:
        check_count("samples", samples)
    what = suite if isinstance(suite, Suite) else read_suite(suite)
    benchmark = Benchmark(resized(what, samples, seeds), Path(path), dict(use or {}), tuple(only))
    benchmark.compute()
    return benchmark.outcome()


def resized(suite: Suite, samples: int | None = None, seeds: Sequence[int] = ()) -> Suite:
    """A suite with other numbers of samples and other seeds. Raises ValueError for numbers out of range."""
    for seed in seeds:
        check_seed("seeds", seed)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={' '.join(map(str, seeds))} names a seed twice; name each once")
    if samples is not None:
        check_count("samples", samples)
        suite = dataclasses.replace(
            suite, tasks=tuple(dataclasses.replace(entry, samples=samples) for entry in suite.tasks)
        )
    return dataclasses.replace(suite, seeds=tuple(seeds)) if seeds else suite
