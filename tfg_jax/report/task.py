"""The report of a task of the user's own: numbers, the objective on the way, and the samples where they are images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from tfg_jax.metrics.titles import COSTS, estimate, titled
from tfg_jax.report.images import Pixels, grid
from tfg_jax.report.page import Config, Figure, Numbers, Report, Section, Text
from tfg_jax.report.run import step_section
from tfg_jax.report.table import with_failed
from tfg_jax.rows import Arrays

MOST, COLUMNS = 40, 10
TABLE = "samples.csv"


def task_report(
    values: Mapping[str, np.ndarray],
    numbers: Mapping[str, Any],
    arrays: Arrays,
    title: str,
    config: Mapping[str, Any],
) -> Report:
    """The report of a run.

    Args:
        values: of every sample (n,) by name.
        numbers: of metrics.json.
        arrays: as stored, "x" and "objective" among them.
        title: of the page.
        config: shown folded at its end.
    """
    words = with_failed(numbers["samples"], numbers["failed_samples"])
    summary = [Text(f"{words}; means with intervals of 95 %."), Numbers(named_estimates(numbers, values))]
    sections, picture = [Section("Summary", summary)], _picture(arrays.get("x"))
    if picture is not None:
        sections.append(Section("Samples", [Figure(picture, "Grid of samples")]))
    if arrays["objective"].shape[1] > 1:
        sections.append(step_section("Objective", arrays["objective"], "objective (log-weight)"))
    sections.append(Section("Cost", [Numbers(titled(numbers, [*COSTS.values(), "seconds"]))]))
    sections.append(Section("Configuration", [Config(config)]))
    return Report(title, sections, numbers=numbers, picture=picture, files={TABLE: partial(samples_table, values)})


def named_estimates(numbers: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The user's numbers by their own names, with intervals."""
    return {name.replace("_", " "): estimate(numbers, name) for name in names if f"{name}_low" in numbers}


def samples_table(values: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """The numbers of every sample as lines of CSV."""
    rows = enumerate(zip(*values.values(), strict=True))
    for row in chain([["index", *values]], ([i, *(number.item() for number in row)] for i, row in rows)):
        text = io.StringIO(newline="")
        csv.writer(text).writerow(row)
        yield text.getvalue().encode()


def _picture(x: Any) -> Pixels | None:
    """The first samples, where they are images."""
    if x is None or x.ndim != 4 or x.shape[-1] not in (1, 3):
        return None
    return grid([x[i : i + COLUMNS] for i in range(0, min(len(x), MOST), COLUMNS)], scale=2, gap=2)
