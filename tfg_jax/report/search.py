"""The report of a search: the front, the way to it, how much each axis mattered, and the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfg_jax.metrics.intervals import Estimate
from tfg_jax.metrics.titles import METRICS
from tfg_jax.report.charts import bar_chart, line_chart, scatter
from tfg_jax.report.page import Block, Config, Figure, Numbers, Report, Section, Table, Text
from tfg_jax.search.axis import shown
from tfg_jax.search.result import Searched
from tfg_jax.search.trials import COST, Trial

SHOWN, POINTS = 20, 12
"""Trials of the table and points of the front's chart, at most."""


def title_of(metric: str) -> str:
    """A metric as an axis of a chart says it."""
    return METRICS[metric].axis if metric in METRICS else metric.replace("_", " ")


def trial_rows(found: Searched, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Trials as lines of a table, each with what was reported of it."""
    rows = []
    for trial in trials:
        row: dict[str, Any] = {name: shown(value) for name, value in trial.candidate.values}
        report = found.report_of(trial.candidate)
        for metric in found.search.aim.names:
            if metric != COST:
                row[title_of(metric)] = trial.estimate(metric)
                row[f"{title_of(metric)}, reported"] = None if report is None else report.estimate(metric)
        rows.append(row | {"samples": trial.samples, "evaluations a sample": trial.cost})
    return rows


def best_rows(found: Searched, most: int = SHOWN) -> list[dict[str, Any]]:
    """The best full trials, best first, and the start."""
    listed, start = found.search.aim.order(found.full)[:most], found.search.space.start
    tried = [] if start in {each.candidate for each in listed} else [t for t in found.trials if t.candidate == start]
    return trial_rows(found, [*listed, *tried[-1:]])


def search_report(found: Searched, config: Mapping[str, Any], command: str = "") -> Report:
    """The report of a search.

    Args:
        found: the search.
        config: shown folded at the end of the page.
        command: that made it.
    """
    metrics = found.search.aim.names
    best, reported = found.best, found.report_of(found.best.candidate)
    spent = sum(trial.evaluations for trial in found.trials)
    numbers: dict[str, Any] = {"best": str(best.candidate)}
    for name in metrics:
        numbers |= {title_of(name): best.estimate(name)} if name == COST else {
            f"{title_of(name)}, chosen": best.estimate(name),
            f"{title_of(name)}, reported": None if reported is None else reported.estimate(name),
        }  # fmt: skip
    candidates = len({trial.candidate for trial in found.trials})
    numbers |= {"candidates": candidates, "network evaluations": spent}
    apart = "and an evaluator" if found.search.judged_apart else ""
    said = f"What was chosen looks better than it is; what is reported is on a seed {apart} of its own."
    blocks: list[Block] = [Numbers(numbers), Text(" ".join(said.split()))]
    blocks += [Text(f"Made by: {command}")] if command else []
    rest: list[Block] = [Table(best_rows(found), caption="Full trials, best first, and the start.")]
    sections = [
        Section("Best", blocks),
        Section("Front", [_front(found, metrics)]),
        Section("Path", [_path(found, metrics[0])]),
        Section("Importance", [_importance(found, metrics[0])]),
        Section("Trials", rest),
        Section("Configuration", [Config(config)]),
    ]
    return Report("Search", sections, numbers={"best": best.to_dict(), "importance": found.importance})


def _front(found: Searched, metrics: Sequence[str]) -> Figure:
    x, y = (COST, metrics[0]) if len(metrics) == 1 else (metrics[1], metrics[0])
    trials = found.search.aim.order(found.full)[:POINTS] if len(metrics) == 1 else found.front[:POINTS]
    points = {str(trial.candidate): (_coordinate(trial, x), _coordinate(trial, y)) for trial in trials}
    caption = "The best full trials." if len(metrics) == 1 else "No other trial is better in one and as good in both."
    names = ["network evaluations a sample" if name == COST else title_of(name) for name in (x, y)]
    return Figure(scatter(points, *names), f"{names[1]} against {names[0]}", caption)


def _coordinate(trial: Trial, metric: str) -> Estimate | float:
    return trial.cost if metric == COST else trial.estimate(metric)


def _path(found: Searched, metric: str) -> Figure:
    steps = found.path
    x, y = np.array([at for at, _ in steps]), np.array([value for _, value in steps])
    chart = line_chart({"best so far": (x, y)}, "network evaluations", title_of(metric))
    return Figure(chart, f"best {title_of(metric)} so far", "Of the full trials, against what all trials cost.")


def _importance(found: Searched, metric: str) -> Figure:
    chart = bar_chart(found.importance, "share of variance explained")
    caption = f"Of the variance of {title_of(metric)} over candidates, what the axis alone explains; shares overlap."
    return Figure(chart, "importance of each axis", caption)
