"""Runs as programs: one written ahead of time for other machines, and sample folders by a program without its task."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from tfg_jax.aot.program import Program
from tfg_jax.result import Cost, Samples
from tfg_jax.rows import Arrays
from tfg_jax.runs.run import Run
from tfg_jax.tasks.base import EndToEnd, Evaluation, Task, aggregate

MOST_EXAMPLES = 4096
"""Targets of a run that its program keeps."""


def check_program(run: Run, file: Path) -> None:
    """Raise ValueError for a folder, a method that works end to end, or a task that needs the samples of a chunk."""
    task = run.task
    if file.is_dir():
        raise ValueError(f"save_program={file} is a folder; name a file in it")
    if isinstance(run.method, EndToEnd) or type(task).sample is not Task.sample:
        what = type(run.method if isinstance(run.method, EndToEnd) else task).__name__
        raise ValueError(
            f"save_program={file} cannot hold a run of {what}, which is more than one program; leave it out"
        )


def save_program(run: Run, file: Path) -> Path:
    """Write the program of a run: its samples, with the objective of every step, for other keys, targets and indices.

    Raises:
        ValueError: as `check_program` and `tfg_jax.aot.save`.
    """
    from tfg_jax.aot.write import save

    check_program(run, file)
    task, targets = run.task, examples_of(run.targets)
    return save(file, task.model, **task.request(targets, run.method, run.conditional), **task.plan(run.method))


def examples_of(targets: Any) -> np.ndarray:
    """The targets that a program is asked for by turns: of many, one round of those that are in turns themselves."""
    first = np.asarray(targets[:MOST_EXAMPLES])
    if len(targets) <= MOST_EXAMPLES:
        return first
    again = np.flatnonzero((first == first[0]).reshape(len(first), -1).all(1))[1:]
    period = next((n for n in again if np.array_equal(first[n:], first[:-n])), None)
    if period is None:
        warnings.warn(f"the program keeps the targets of the first {MOST_EXAMPLES} samples alone", stacklevel=2)
    return first[:period]


@dataclasses.dataclass(frozen=True)
class ProgramTask:
    """What a program samples, as the task of a `Run`: nothing is known but shapes.

    Attributes:
        program: the program.
        wanted: targets and conditions by turns, sample i the row i modulo their number; None is those of the file.
    """

    program: Program
    wanted: tuple[PyTree, PyTree] | None = None

    @cached_property
    def rows(self) -> tuple[PyTree, PyTree]:
        """Target and condition, (m, ...)."""
        return self.program.examples if self.wanted is None else self.wanted

    def _of(self, indices: np.ndarray) -> tuple[PyTree, PyTree]:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[indices % len(leaf)], self.rows)

    def targets(self, n: int) -> np.ndarray:
        """What folders note of the samples: the first array of target or condition, zeros where there is none."""
        return next(iter(jax.tree.leaves(self._of(np.arange(n)))), np.zeros(n, np.int32))

    def describe(self, *_: Any) -> dict[str, Any]:
        """What decides the samples: the program's content, and what is asked of it."""
        header = self.program.header
        asked = None if self.wanted is None else [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(self.wanted)]
        return {"program": header["body"]["sha256"], "configuration": header["configuration"], "asked": asked}

    def notes(self) -> list[str]:
        """None."""
        return []

    def sample(
        self, key: Any, targets: Any, method: None = None, *, conditional: bool = False, index_offset: int = 0
    ) -> Samples:
        """One batch, of the rows that its indices mean."""
        target, cond = self._of(index_offset + np.arange(len(targets)))
        out = self.program(key, target=target, cond=cond, num_samples=len(targets), index_offset=index_offset)
        return Samples(out.x, out.status, out.cost, {"summary": np.zeros((len(targets), 1), np.float32), **out.info})

    def upper_cost(self, method: None = None) -> Cost:
        """Unknown."""
        return Cost()

    def evaluate(self, samples: Arrays, *, seconds: float = 0.0, config: Mapping[str, Any] | None = None) -> Evaluation:
        """The objective that was reached, if the program says it."""
        known = "summary" in (self.program.header["info"] or {}).get("dict", {})
        return aggregate({"objective": np.asarray(samples["objective"])[:, -1]} if known else {}, samples, seconds)


def asked_of(program: Program, numbers: Sequence[float]) -> tuple[PyTree, PyTree] | None:
    """Targets and conditions of a program from one number a sample; None for no numbers.

    Raises:
        ValueError: a program that takes something else.
    """
    if not numbers:
        return None
    specs = jax.tree.leaves((program.target, program.cond))
    if not specs or any(spec.shape for spec in specs):
        raise ValueError(f"targets={numbers!r:.60} are one number a sample, which {program!r:.150} does not take; "
                         "call tfg.aot.load(file) from Python with targets of its shape")  # fmt: skip
    asked = jax.tree.map(lambda spec: np.asarray(numbers, spec.dtype), (program.target, program.cond))
    if any(not np.array_equal(leaf, np.asarray(numbers)) for leaf in jax.tree.leaves(asked)):
        raise ValueError(f"targets={numbers!r:.60} must be whole numbers, for {program!r:.150}")
    return asked
