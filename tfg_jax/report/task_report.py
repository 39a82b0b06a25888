"""The report of a task of the user's own: metrics.json, samples.csv, report.html, and grid.png of images."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax import report
from tfg_jax.metrics.titles import COSTS, titled
from tfg_jax.report.files import write_bytes, write_json
from tfg_jax.report.images import save_png

MOST, COLUMNS = 40, 10


def task_report(
    out: Path, values: Mapping[str, np.ndarray], numbers: Mapping[str, Any], x: np.ndarray, title: str, config: Mapping
) -> None:
    """Write it.

    Args:
        out: the folder.
        values: of every sample (n,) by name, NaN where it failed.
        numbers: of metrics.json.
        x: the samples; shown where they are images in [-1, 1].
        title: of the page.
        config: shown folded at its end.
    """
    write_json(out / "metrics.json", dict(numbers))
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["index", *values])
    table.writerows([i, *row] for i, row in enumerate(zip(*(each.tolist() for each in values.values()), strict=True)))
    write_bytes(out / "samples.csv", text.getvalue().encode())
    words = report.with_failed(numbers["samples"], numbers["failed_samples"])
    sections = [
        report.Section("Summary", [report.Text(f"{words}; means with intervals of 95 %."),
                                   report.Numbers(titled_or_named(numbers, list(values)))]),
        report.Section("Cost", [report.Numbers(titled(numbers, [*COSTS.values(), "seconds"]))]),
    ]  # fmt: skip
    if x.ndim == 4 and x.shape[-1] in (1, 3):
        shown = [x[i : i + COLUMNS] for i in range(0, min(len(x), MOST), COLUMNS)]
        picture = report.grid(shown, scale=2, gap=2)
        save_png(out / "grid.png", picture)
        sections.insert(1, report.Section("Samples", [report.Figure(picture, "Grid of samples")]))
    sections.append(report.Section("Configuration", [report.Config(config)]))
    report.write_report(out / "report.html", title, sections)


def titled_or_named(numbers: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The user's numbers by their own names, with intervals."""
    from tfg_jax.metrics.titles import estimate

    return {name.replace("_", " "): estimate(numbers, name) for name in names if f"{name}_low" in numbers}
