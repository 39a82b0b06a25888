"""The report of a label-guidance run: metrics.json, grid.png and report.html from plain arrays."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfg_jax import metrics
from tfg_jax.kinds import public
from tfg_jax.metrics.label_run import LabelRun, label_metrics
from tfg_jax.metrics.titles import LABEL, METRICS
from tfg_jax.report.charts import bar_chart
from tfg_jax.report.images import Pixels, grid
from tfg_jax.report.page import Figure, Report, Section, Table
from tfg_jax.report.run import image_tile, run_report, step_section
from tfg_jax.report.table import with_failed
from tfg_jax.rows import as_rows

GRID_ROWS, GRID_COLUMNS = 20, 10


@public
def label_guidance_report(
    folder: str | os.PathLike[str], run: LabelRun, title: str = "Label guidance"
) -> dict[str, Any]:
    """Write metrics.json, grid.png and report.html into a folder, each atomically, and return the metrics.

    folder: created if missing. run: see `LabelRun`. Raises ValueError if its arrays do not fit each other.
    """
    numbers = label_metrics(run)
    label_report(run, numbers, title).write(folder)
    return numbers


def label_report(run: LabelRun, numbers: Mapping[str, Any], title: str) -> Report:
    """The report of a run with these `label_metrics`."""
    targets, names = np.asarray(run.targets), list(run.class_names)
    logits = run.counted(run.evaluator_logits)
    classes = {names[c]: e for c, e in metrics.per_class_accuracy(logits, targets).items()}
    rows = [{"class": name, "accuracy": each, "samples": each.n} for name, each in classes.items()]
    picture = class_grid(run)
    caption = (
        f"One row for each requested class (at most {GRID_ROWS} rows of {GRID_COLUMNS}). Under each image: the "
        "evaluator's probability of the requested class or, where it disagrees, its own verdict. Red tiles failed."
    )
    bars = Figure(bar_chart(classes, METRICS["evaluator_accuracy"].title), "Evaluator accuracy of each requested class")
    table = Table(rows, caption="Evaluator accuracy with 95 % Wilson intervals")
    sections = [
        *_least_real(run, numbers),
        Section("Samples", [Figure(picture, "Grid of samples by requested class", caption)]),
        Section("Accuracy by class", [bars, table]),
    ]
    if run.objective is not None:
        note = "Mean over the samples that stayed finite; the band holds the middle 80 % of them."
        sections.append(step_section("Objective", run.objective, "objective (log-weight)", note))
    seen = {"evaluator_target_probability": logits}
    if run.guide_logits is not None:
        seen = {"guide_target_probability": run.counted(run.guide_logits)} | seen
    facts = {METRICS[key]: metrics.target_probability(each, targets) for key, each in seen.items()}
    verdicts = metrics.probabilities(logits).argmax(axis=1)

    def card(i: int) -> tuple[str, dict[str, Any], str]:
        flag = "" if verdicts[i] == targets[i] else f"evaluator sees {names[verdicts[i]]}"
        return f"#{i} {names[targets[i]]}", {m.short: f"{p[i]:{m.digits}}" for m, p in facts.items()}, flag

    text = f"{with_failed(numbers['samples'], numbers['failed_samples'])}; failed samples count as misses."
    note = "Numbers are probabilities of the requested class."
    return run_report(
        title, run, numbers, picture, text=text, shown=LABEL, sections=sections, card=card,
        tile=image_tile(run, run.x), note=note,
    )  # fmt: skip


def class_grid(run: LabelRun, scale: int = 3) -> Pixels:
    """Samples in one row a requested class, captioned with the evaluator's probability of it, or its own verdict."""
    targets, p = np.asarray(run.targets), metrics.probabilities(run.counted(run.evaluator_logits))
    x, ok, verdicts = as_rows(run.x), run.ok()[:, None, None, None], p.argmax(axis=1)
    names = list(run.class_names)
    rows = [np.flatnonzero(targets == c)[:GRID_COLUMNS].tolist() for c in np.unique(targets)[:GRID_ROWS]]

    def caption(i: int) -> str:
        if not p[i].any():
            return "failed"
        right = verdicts[i] == targets[i]
        return f"{p[i, targets[i]]:.2f}" if right else f"{p[i, verdicts[i]]:.2f} {names[verdicts[i]]}"

    labels, captions = [names[targets[row[0]]] for row in rows], [[caption(i) for i in row] for row in rows]
    return grid(
        [np.where(ok[row], x[row], np.nan) for row in rows], row_labels=labels, captions=captions, scale=scale, gap=4
    )


def _least_real(run: LabelRun, numbers: Mapping[str, Any]) -> list[Section]:
    """The finished samples furthest from real images, before all others: what an accuracy does not see."""
    worst = numbers.get("least_like_real")
    if not worst:
        return []
    targets, x = np.asarray(run.targets), as_rows(run.x)
    under = [f"#{w['sample']} {run.class_names[int(targets[w['sample']])]}" for w in worst]
    picture = grid([x[[w["sample"] for w in worst]]], captions=[under], scale=3, gap=4)
    shares = ", ".join(f"{w['beyond_real']:.2f}" for w in worst)
    caption = (
        "The samples whose patches are furthest from those of real images, whatever a classifier sees in them. From "
        f"the left, the share of real images that are closer to the others: {shares}."
    )
    return [Section("Least like real ones", [Figure(picture, "Samples least like real images", caption)])]
