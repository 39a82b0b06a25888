"""What the scripts of studies share: they plan or compute rows, say each, write the page, and stop resumably."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax import metrics
from tfg_jax.host import keep_freed_memory
from tfg_jax.locks import lock
from tfg_jax.report import text_table
from tfg_jax.runs.study import Study
from tfg_jax.signals import RESUMABLE, Interrupted
from tfg_jax.studies.progress import described

Known = Mapping[str, Any]
"""Results by the names of rows."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What every study takes."""

    folder: Path  # results and samples, for resuming
    page: Path
    only: tuple[str, ...] = ()  # tables or rows; () is all of them
    page_only: bool = False  # write the page again from what is known
    dry_run: bool = False  # print the plan: rows, network evaluations and minutes
    rate: float = 430.0  # network evaluations a second that the plan reckons with
    chunk: int = 20  # small arrays stay in the cache of a CPU core


def run(
    study: Study, options: Options, line_of: Callable[[str, Any], Mapping[str, Any] | None],
    write_page: Callable[[Any, Known], None],
) -> None:  # fmt: skip
    """Compute what is missing, row by row, and rewrite the page after each.

    Args:
        study: its rows.
        options: what of it.
        line_of: the line of a table for a row and its report; None if it has none.
        write_page: the page from the results that are known.
    """

    def rewrite() -> None:
        with lock(options.folder, wait=True):  # of processes side by side, one draws the pictures at a time
            options.page.parent.mkdir(parents=True, exist_ok=True)
            write_page(options, study.known())

    if options.dry_run:
        print(described([study.plan(options.only)]))
        return
    keep_freed_memory()
    try:
        for row, result in () if options.page_only else study.compute(options.only):
            line = None if result is None else line_of(row.name, result["report"])
            done = f"{row.name}: {'left to another process' if result is None else 'done'}"
            print(done if line is None else text_table([line]), flush=True)
            if result is not None:
                rewrite()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(RESUMABLE)
    rewrite()


def findings_of(page: Path) -> list[str]:
    """What was written by hand beside a page."""
    file = page.with_name(f"{page.stem}_findings.md")
    return [file.read_text("utf-8")] if file.exists() else []


def flat(**estimates: metrics.Estimate) -> dict[str, float]:
    """Estimates under the flat names of metrics.json."""
    return {key: value for name, each in estimates.items() for key, value in metrics.flat_estimate(name, each).items()}


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices, class by class."""
    return np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(labels.max() + 1)])
