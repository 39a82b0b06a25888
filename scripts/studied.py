"""What the scripts of studies share: they plan or compute rows, say each, write the page, and stop resumably."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfg_jax.host import keep_freed_memory
from tfg_jax.locks import lock
from tfg_jax.report import text_table
from tfg_jax.runs.study import Study
from tfg_jax.signals import RESUMABLE, Interrupted


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
    write_page: Callable[[Any, Mapping[str, Any]], None],
) -> None:  # fmt: skip
    """Compute what is missing, row by row, and rewrite the page after each.

    Args:
        study: its rows.
        options: what of it.
        line_of: the line of a table for a row and its report; None if it has none.
        write_page: the page from the results that are known.
    """
    if options.dry_run:
        plan = study.plan(options.only)
        print(f"{text_table(plan)}\n{sum(row['minutes'] for row in plan) / 60:.1f} core hours; Nothing was run.")
        return
    keep_freed_memory()
    try:
        for row, result in () if options.page_only else study.compute(options.only):
            line = None if result is None else line_of(row.name, result["report"])
            done = f"{row.name}: {'left to another process' if result is None else 'done'}"
            print(done if line is None else text_table([line]), flush=True)
            if result is not None:
                _rewrite(study, options, write_page)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(RESUMABLE)
    _rewrite(study, options, write_page)


def _rewrite(study: Study, options: Options, write_page: Callable[[Any, Mapping[str, Any]], None]) -> None:
    with lock(options.folder, wait=True):  # of processes side by side, one draws the pictures at a time
        options.page.parent.mkdir(parents=True, exist_ok=True)
        write_page(options, study.known())
