"""The report of a label-guidance run: metrics.json, grid.png and report.html from plain arrays."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax import metrics
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.metrics.label_run import LabelRun, label_metrics
from tfg_jax.metrics.titles import COSTS, LABEL, titled
from tfg_jax.report import html, images
from tfg_jax.report.curves import bar_chart, line_chart
from tfg_jax.report.files import write_json
from tfg_jax.report.table import counted, with_failed

GRID_ROWS, GRID_COLUMNS, MOST_CARDS = 20, 10, 60


@public
def label_guidance_report(
    folder: str | os.PathLike[str], run: LabelRun, title: str = "Label guidance"
) -> dict[str, Any]:
    """Write metrics.json, grid.png and report.html into a folder, each atomically, and return the metrics.

    folder: created if missing. run: see `LabelRun`. Raises ValueError if its arrays do not fit each other.
    """
    folder = Path(folder)
    found = label_metrics(run)
    write_json(folder / "metrics.json", found)
    picture = class_grid(run)
    images.save_png(folder / "grid.png", picture)
    html.write_report(folder / "report.html", title, report_sections(run, found, picture))
    return found


def class_grid(run: LabelRun, scale: int = 3) -> images.Pixels:
    """Samples in one row a requested class, captioned with the evaluator's probability of it, or its own verdict."""
    targets, p = np.asarray(run.targets), metrics.probabilities(run.counted(run.evaluator_logits))
    x, verdicts = np.where(run.ok()[:, None, None, None], np.asarray(run.x), np.nan), p.argmax(axis=1)
    names = list(run.class_names)
    rows = [np.flatnonzero(targets == c)[:GRID_COLUMNS].tolist() for c in np.unique(targets)[:GRID_ROWS]]

    def caption(i: int) -> str:
        if not p[i].any():
            return "failed"
        right = verdicts[i] == targets[i]
        return f"{p[i, targets[i]]:.2f}" if right else f"{p[i, verdicts[i]]:.2f} {names[verdicts[i]]}"

    return images.grid(
        [x[row] for row in rows],
        row_labels=[names[targets[row[0]]] for row in rows],
        captions=[[caption(i) for i in row] for row in rows],
        scale=scale,
        gap=4,
    )


def report_sections(run: LabelRun, found: Mapping[str, Any], picture: images.Pixels) -> list[html.Section]:
    """The report's sections as data, for a page of one run or a part of a longer one."""
    targets = np.asarray(run.targets)
    logits = run.counted(run.evaluator_logits)
    classes = {run.class_names[c]: e for c, e in metrics.per_class_accuracy(logits, targets).items()}
    text = f"{with_failed(found['samples'], found['failed_samples'])}; failed samples count as misses."
    caption = (
        f"One row for each requested class (at most {GRID_ROWS} rows of {GRID_COLUMNS}). Under each image: the "
        "evaluator's probability of the requested class or, where it disagrees, its own verdict. Red tiles failed."
    )
    summary: list[html.Block] = [html.Text(note, warning=True) for note in run.notes]
    summary += [html.Text(text), html.Numbers(titled(found, LABEL))]
    sections = [
        html.Section("Summary", summary),
        *_least_real(run, found),
        html.Section("Samples", [html.Figure(picture, "Grid of samples by requested class", caption)]),
        html.Section(
            "Accuracy by class",
            [
                html.Figure(bar_chart(classes, "evaluator accuracy"), "Evaluator accuracy of each requested class"),
                html.Table(
                    [{"class": k, "accuracy": e, "samples": e.n} for k, e in classes.items()],
                    caption="Evaluator accuracy with 95 % Wilson intervals",
                ),
            ],
        ),
    ]
    if run.objective is not None:
        chart = line_chart({"mean": step_curve(run.objective)}, "sampling step", "objective (log-weight)")
        note = "Mean over the samples that stayed finite; the band holds the middle 80 % of them."
        sections.append(html.Section("Objective", [html.Figure(chart, "Objective against sampling step", note)]))
    sections.append(
        html.Section("Cost", [html.Numbers(titled(found, [*COSTS.values(), "seconds", "images_per_second"]))])
    )
    sections.append(html.Section("Single samples", _sample_cards(run)))
    if run.config:
        sections.append(html.Section("Configuration", [html.Config(run.config)]))
    return sections


def _least_real(run: LabelRun, found: Mapping[str, Any]) -> list[html.Section]:
    """The finished samples furthest from real images, before all others: what an accuracy does not see."""
    worst = found.get("least_like_real")
    if not worst:
        return []
    targets, x = np.asarray(run.targets), np.asarray(run.x)
    under = [f"#{w['sample']} {run.class_names[int(targets[w['sample']])]}" for w in worst]
    picture = images.grid([x[[w["sample"] for w in worst]]], captions=[under], scale=3, gap=4)
    shares = ", ".join(f"{w['beyond_real']:.2f}" for w in worst)
    caption = (
        "The samples whose patches are furthest from those of real images, whatever a classifier sees in them. From "
        f"the left, the share of real images that are closer to the others: {shares}."
    )
    return [html.Section("Least like real ones", [html.Figure(picture, "Samples least like real images", caption)])]


def _sample_cards(run: LabelRun) -> list[html.Block]:
    """Failures first, then the samples in order: what went wrong must not hide behind the first page."""
    ok, targets, x = run.ok(), np.asarray(run.targets), np.asarray(run.x)
    code, step, names = np.asarray(run.status_code), np.asarray(run.status_step), list(run.class_names)
    seen = metrics.probabilities(run.counted(run.evaluator_logits))
    guide = metrics.target_probability(run.counted(run.guide_logits), targets) if run.guide_logits is not None else None
    cards = []
    for i in np.argsort(ok, kind="stable")[:MOST_CARDS].tolist():
        target, verdict = int(targets[i]), int(seen[i].argmax())
        tile = images.to_pixels(x[i] if ok[i] else np.full_like(x[i], np.nan), 2)
        facts = {"guide": f"{guide[i]:.3f}"} if guide is not None else {}
        facts |= {"evaluator": f"{seen[i, target]:.3f}"}
        flag = "" if verdict == target else f"evaluator sees {names[verdict]}"
        if not ok[i]:
            facts = dict.fromkeys(facts)
            flag = FAILURES.get(int(code[i]), "failed") + (f" at step {step[i]}" if step[i] >= 0 else "")
        cards.append(html.Card(f"#{i} {names[target]}", tile, facts, flag))
    shown = f"{len(cards)} of {counted(len(ok), 'sample')}, failed ones first."
    text = f"{shown} Numbers are probabilities of the requested class."
    return [html.Text(text), html.Cards(cards)]


FAILURES = {1: "not finite", 2: "invalid input", 3: "diverged"}


def step_curve(objective: AnyArray) -> tuple[np.ndarray, ...]:
    """Step numbers, mean, and the band of the middle 80 %, over the samples (n, steps) that stayed finite."""
    values = np.asarray(objective, np.float64)
    finite = values[np.isfinite(values).all(axis=1)]
    if not len(finite):
        return (np.arange(values.shape[1]), *(np.full(values.shape[1], np.nan) for _ in range(3)))
    return (np.arange(values.shape[1]), finite.mean(axis=0), *np.quantile(finite, [0.1, 0.9], axis=0))
