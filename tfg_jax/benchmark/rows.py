"""A suite as a study: a row is one method on one target and one seed, with samples in a folder of its own."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.benchmark.methods import methods_of
from tfg_jax.benchmark.sources import Sources
from tfg_jax.benchmark.suite import Entry, Suite, Target
from tfg_jax.config import to_dict
from tfg_jax.endtoend.run import upper_end_to_end_cost
from tfg_jax.files import slug
from tfg_jax.metrics import correct
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.store import config_hash
from tfg_jax.runs.study import Row, Study
from tfg_jax.sample import upper_cost
from tfg_jax.tasks.base import EndToEnd, Evaluation

ALL = "-"
"""The target of a task that has one alone."""
LACKS = "lacks"
"""What a row says that cannot be measured yet."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a row asks for, and by which method.

    Attributes:
        entry, target, seed: of which task.
        name, method: of the method; None is unguided.
    """

    entry: Entry
    target: Target
    seed: int
    name: str
    method: Any

    @property
    def task(self) -> str:
        """Of the table."""
        return self.entry.task(self.target)

    @property
    def target_word(self) -> str:
        """By which rows of the target are chosen; of a task with one alone its name is enough."""
        return ALL if self.entry.apart else self.target.name

    @property
    def row(self) -> str:
        """Its name."""
        return f"{self.task}/{self.target.name}/{self.name}/{self.seed}"

    @property
    def metric(self) -> str:
        """By its name in metrics.json."""
        return f"error_{self.target.request[0]}" if self.entry.kind == "properties" else self.entry.metric

    @property
    def evaluations(self) -> float:
        """Network evaluations, forwards and pullbacks, of one sample."""
        from tfg_jax.benchmark.tasks import sampler_of

        if isinstance(self.method, EndToEnd):
            cost = upper_end_to_end_cost(self.method)
        else:
            cost = upper_cost(self.method, None, sampler_of(self.entry))
        return float(cost.forwards + cost.pullbacks)

    @property
    def seconds(self) -> float:
        """That all samples take at the suite's rate; 0 where that is unknown."""
        return self.evaluations * self.entry.samples / self.entry.rate if self.entry.rate else 0.0

    @property
    def config(self) -> dict[str, Any]:
        """All that decides its result but networks and images, as JSON."""
        facts = ("kind", "data", "samples", "metric", "also", "steps", "eta", "grid", "clip", "noise_std", "operator",
                 "needs")  # fmt: skip
        own = {name: getattr(self.entry, name) for name in facts}
        return {
            **own,
            "target": self.target.request,
            "seed": self.seed,
            "method": self.name,
            "settings": to_dict(self.method),
        }


def cells_of(suite: Suite) -> list[Cell]:
    """Every row of a suite; the methods of one target and seed follow each other."""
    return [
        Cell(entry, target, seed, name, method)
        for entry in suite.tasks
        for target in entry.targets
        for seed in suite.seeds
        for name, method in methods_of(entry, target).items()
    ]


def study_of(suite: Suite, folder: Path, sources: Sources) -> Study:
    """All rows; those whose needs are not met say what they lack and cannot be measured."""
    measured = _Tasks(sources, folder / "samples")
    rows = [
        Row(
            cell.row, cell.task, cell.config, partial(measured.measure, cell), samples=cell.entry.samples,
            evaluations=cell.evaluations, seconds=cell.seconds,
            labels={"task": cell.task, "target": cell.target_word, "method": cell.name},
            shown={LACKS: ", ".join(need.name for need in sources.missing(cell.entry))},
            inputs=partial(sources.inputs, cell.entry),
        )
        for cell in cells_of(suite)
    ]  # fmt: skip
    return Study(folder, rows)


class _Tasks:
    """Measures rows; the task of a target and seed is kept for the methods that follow each other."""

    def __init__(self, sources: Sources, folder: Path) -> None:
        self.sources, self.folder = sources, folder
        self._last: tuple[Any, Any] = (None, None)

    def _task(self, cell: Cell) -> Any:
        from tfg_jax.benchmark.tasks import needs_noisy_guide, task_of

        key = (cell.task, cell.target.name, cell.seed, needs_noisy_guide(cell.method))
        if self._last[0] != key:
            made = task_of(cell.entry, cell.target, self.sources, seed=cell.seed, n=cell.entry.samples,
                           method=cell.method)  # fmt: skip
            self._last = (key, made)
        return self._last[1]

    def measure(self, cell: Cell, choice: None, trial: bool) -> dict[str, Any]:
        """The numbers of a row, with the values of its samples, by which methods are paired."""
        entry, task = cell.entry, self._task(cell)
        run = Run(
            task, cell.method, entry.samples, cell.seed, min(entry.chunk, entry.samples),
            conditional=cell.name == "conditional", name=cell.row,
        )  # fmt: skip
        path = self.folder / slug(cell.task) / slug(f"{cell.target.name} {cell.name} {cell.seed}") / _known_by(run)
        arrays = run.samples(path)
        seconds = seconds_of(path)
        scored = task.evaluate(arrays, seconds=seconds, config=run.config)
        return self._report(cell, task, scored, arrays, seconds)

    def _report(
        self, cell: Cell, task: Any, scored: Evaluation, arrays: dict[str, np.ndarray], seconds: float
    ) -> dict[str, Any]:
        from tfg_jax.benchmark.tasks import scores_of

        wanted = (cell.metric, *cell.entry.also)
        values = {**scored.values, **scores_of(cell.entry, task, self.sources, arrays)}
        if "evaluator_accuracy" in wanted:
            run = scored.run
            values["evaluator_accuracy"] = correct(run.counted(run.evaluator_logits), run.targets).astype(float)
        if wanted[0] not in values:
            raise ValueError(f"metric={wanted[0]!r} is not among what {cell.task} gives: {', '.join(values)}; name one")
        kept = {name: [_finite(each) for each in values[name]] for name in wanted if name in values}
        numbers = {
            name: [_finite(scored.numbers.get(f"{name}{end}")) for end in ("", "_low", "_high")]
            for name in wanted if name not in kept and name in scored.numbers
        }  # fmt: skip
        cost = {key: float(np.mean(arrays[f"cost_{key}"])) for key in ("forwards", "pullbacks", "objective")}
        failed = scored.numbers.get("failed_samples", 0)
        return {"samples": cell.entry.samples, "failed": failed, "cost": cost, "values": kept, "numbers": numbers,
                "seconds": seconds}  # fmt: skip


def _known_by(run: Run) -> str:
    """Of a folder of samples: whatever decides them is another name, more of them is not."""
    return config_hash(run.config)[:12]


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
