"""The report of a comparison of methods: table.md, compare.json, grid.png and report.html."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax import report
from tfg_jax.files import write_bytes
from tfg_jax.metrics import METRICS, LabelRun, estimate, label_metrics, titled
from tfg_jax.report.images import Pixels

SHOWN = 10
COLUMNS = (
    "evaluator_accuracy", "unlike_real", "frechet_distance", "high_frequency_ratio", "network_forwards_per_sample",
    "network_pullbacks_per_sample", "objective_gradients_per_sample", "seconds", "failed_samples",
)  # fmt: skip


def comparison_report(out: Path, scored: Mapping[str, LabelRun], configs: Mapping[str, Any], notes: list[str]) -> str:
    """Write it, and return what to say of it on the terminal.

    scored, configs: by method. notes: warnings on top of the page.
    """
    by_method = _numbers(scored)
    rounded = {name: numbers | {"seconds": round(numbers["seconds"], 1)} for name, numbers in by_method.items()}
    rows = [{"method": name, **titled(numbers, COLUMNS, short=True)} for name, numbers in rounded.items()]
    report.write_json(out / "compare.json", by_method)
    write_bytes(out / "table.md", (report.markdown_table(rows) + "\n").encode())
    picture = _grid(scored)
    common = next(iter(by_method.values()))["compared_samples"]
    text = (
        f"The same seeds, requests, sampler and clip for every method; 95 % intervals. Failed samples count as misses; "
        f"Fréchet distances are over the {common} samples that every method finished."
    )
    blocks = [*(report.Text(note, warning=True) for note in notes), report.Text(text), report.Table(rows)]
    figure = report.Figure(picture, "One row of samples for each method", "Same seeds in a column.")
    sections = [report.Section("Table", blocks), report.Section("Samples", [figure])]
    if chart := _chart(by_method):
        title = "Accuracy against distance"
        sections.insert(1, report.Section(title, [report.Figure(chart, "Scatter of the methods")]))
    sections.append(report.Section("Configuration", [report.Config(configs)]))
    report.Report("Guidance methods compared", sections, picture=picture).write(out)
    files = f"picture  {out / 'grid.png'}\nreport   {out / 'report.html'}\ntable    {out / 'table.md'}"
    return f"{report.text_table(rows)}\n\n{files}"


def _numbers(scored: Mapping[str, LabelRun]) -> dict[str, dict[str, Any]]:
    """Metrics by method, with Fréchet distances over one set of samples: they are comparable at equal n alone."""
    common = np.logical_and.reduce([run.ok() for run in scored.values()])
    numbers = {}
    for name, run in scored.items():
        numbers[name] = label_metrics(dataclasses.replace(run, features=None, reference_features=None))
        numbers[name]["compared_samples"] = int(common.sum())
        if run.features is not None and common.sum() > 1:
            shared = dataclasses.replace(run, status_code=np.where(common, 0, 1), reference_images=None)
            keys = ("frechet_distance", "frechet_distance_low", "frechet_distance_high")
            numbers[name] |= {key: label_metrics(shared)[key] for key in keys}
    return numbers


def _chart(by_method: Mapping[str, Mapping[str, Any]]) -> Any:
    across, up = "frechet_distance", "evaluator_accuracy"
    points = {
        name: (estimate(numbers, across), estimate(numbers, up))
        for name, numbers in by_method.items()
        if across in numbers
    }
    return report.scatter(points, METRICS[across].axis, METRICS[up].axis) if points else None


def _grid(scored: Mapping[str, LabelRun]) -> Pixels:
    rows = [np.where(run.ok()[:SHOWN, None, None, None], run.x[:SHOWN], np.nan) for run in scored.values()]
    return report.grid(rows, row_labels=list(scored), scale=3, gap=4)
