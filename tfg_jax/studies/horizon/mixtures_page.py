"""The mixtures part of the page of the horizon study: tables and figures from stored numbers."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from tfg_jax.metrics.intervals import mean_ci
from tfg_jax.report.page import Block, Figure, Section, Table, Text
from tfg_jax.studies.panels import panels

REFERENCE = "tsit5 (diffrax)"
GRADIENTS = (
    "The mixture of [the horizon's page](../../horizon.md) on the line at s = 0.3, {n} states of the noisy "
    "distribution, float64. The error of a gradient is |log(J_h / J)|, J the derivative of the exact flow map: 0.69 is "
    "a factor of two, ∞ a wrong sign. Cells: median (90th percentile). The last solver stands for exact solves."
)
POSTERIOR = (
    "A mixture of three modes in the plane, one linear measurement of it with noise 0.3; eight measurements, 128 "
    "samples each, DDIM of 50 steps with eta 1, which a longer horizon makes dearer (these rows are *not* at equal "
    "cost). Sliced Wasserstein distance and MMD to exact posterior samples, means over the measurements with 95 % "
    "t-intervals. "
    "The first row is the distance between exact samples, the second what the sampler adds. Every strength was chosen "
    "of six on other measurements and another seed; *edge* is a choice at an end of its range."
)


def mixture_sections(mixtures: Mapping[str, Any]) -> list[Section]:
    """The sections of what has been computed."""
    sections = []
    if "gradients" in mixtures:
        rows = mixtures["gradients"]["report"]["found"]
        sections.append(Section("Gradients on a mixture", [*_gradients(rows), *_gradient_figures(rows)]))
    if "adjoints" in mixtures:
        sections.append(Section("Adjoints", _adjoints(mixtures["adjoints"]["report"]["found"])))
    rows = [each for name, each in mixtures.items() if name.startswith("posterior")]
    return sections + ([Section("Sampling a posterior exactly known", _posterior(rows))] if rows else [])


def _gradients(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    horizons = sorted({row["horizon"] for row in rows if row["horizon"] is not None})
    blocks: list[Block] = [Text(GRADIENTS.format(n=200))]
    for title, cell in (("Gradient", _gradient), ("Root mean square error of the estimate", _value)):
        table: dict[tuple, dict[str, Any]] = {}
        for row in rows:
            line = {"solver": row["solver"], "steps": row["steps"], "evaluations": row["evaluations"]}
            line = table.setdefault((row["solver"], row["steps"]), line)
            line["no tail" if row["horizon"] is None else f"h = {row['horizon']:g}"] = cell(row)
        columns = ["solver", "steps", "evaluations", *(f"h = {h:g}" for h in horizons), "no tail"]
        shown = [name for name in columns if any(name in line for line in table.values())]
        blocks.append(Table(list(table.values()), shown, title))
    return blocks


def _gradient_figures(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    on_axis = [row for row in rows if row["horizon"] is not None]
    curves: dict[str, dict[str, Any]] = {"estimate": {}, "gradient": {}}
    steps = sorted({row["steps"] for row in on_axis if row["solver"] != REFERENCE})
    chosen = [("euler", k) for k in steps[:: max(len(steps) - 1, 1)]]
    chosen += [("midpoint", k) for k in steps[::2]]
    chosen += sorted({(row["solver"], row["steps"]) for row in on_axis if row["solver"] == REFERENCE})
    for solver, k in dict.fromkeys(chosen):
        rows = [row for row in on_axis if (row["solver"], row["steps"]) == (solver, k)]
        for panel, key in (("estimate", "value"), ("gradient", "gradient")):
            kept = [(row["horizon"], max(row[key], 1e-6)) for row in rows if isfinite(row[key])]
            if kept:
                curves[panel][f"{solver} {k}"] = np.array(kept).T
    precision: dict[str, dict[str, Any]] = {}
    for horizon in sorted({row["horizon"] for row in on_axis if row["horizon"] > 0}):
        for solver in dict.fromkeys(row["solver"] for row in on_axis if row["solver"] != REFERENCE):
            rows = [row for row in on_axis if row["solver"] == solver and row["horizon"] == horizon]
            kept = [(row["evaluations"], row["gradient"]) for row in rows if isfinite(row["gradient"])]
            if kept:
                precision.setdefault(f"h = {horizon:g}", {})[solver] = np.array(sorted(kept)).T
    ylabels = {"estimate": "root mean square error", "gradient": "median |log(J_h / J)|"}
    errors = panels(curves, "horizon", ylabels, log_y=True)
    costs = panels(precision, "network evaluations", ylabels["gradient"], log_x=True, log_y=True)
    caption = "Error of the estimate and of its gradient against the horizon"
    return [
        Figure(errors, "errors against horizon", caption, "gradients"),
        Figure(costs, "error against network evaluations", "Error of the gradient against its cost", "precision"),
    ]


def _adjoints(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    table = [
        {
            "adjoint": row["adjoint"], "evaluations": row["evaluations"], "gradient error": _gradient(row),
            "milliseconds": round(1e3 * row["seconds"], 1),
            "temporaries (kB)": None if row["temporary_bytes"] is None else round(row["temporary_bytes"] / 1e3, 1),
        }
        for row in rows
    ]  # fmt: skip
    text = "The whole solve (h = 1) by 16 midpoint steps, all states at once; the least of five timings on a CPU."
    return [Text(text), Table(table)]


def _posterior(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    table, curve, costs = [], [], {}
    for row in rows:
        report, name, horizon = row["report"], row["config"]["row"], row["config"]["horizon"]
        distance = mean_ci(np.asarray(report["sliced_w2"]))
        strength = f"{report['strength']:g}" if row["trials"] else "-"
        if row["trials"] and row["kept"] in (0, len(row["trials"]) - 1):
            strength += ", edge"
        table.append(
            {
                "row": name, "strength": strength, "sliced W2": distance,
                "MMD² x 1000": mean_ci(1e3 * np.asarray(report["mmd"])), "failed": report["failed"],
                "evaluations": report["evaluations"],
            }
        )  # fmt: skip
        point = (distance.value, distance.low, distance.high)
        if report["evaluations"]:
            costs[name] = [[each] for each in (report["evaluations"], *point)]
        if horizon is not None and name != "two-step Euler":
            curve.append((horizon, *point))
    blocks: list[Block] = [Text(POSTERIOR), Table(table)]
    if costs:
        chart = panels({"every method": costs}, "network evaluations a sample", "sliced W2", log_x=True, log_y=True)
        blocks.append(Figure(chart, "distance against network evaluations", name="posterior"))
    if curve:
        chart = panels({"posterior": {"4 midpoint steps": np.array(sorted(curve)).T}}, "horizon", "sliced W2")
        blocks.append(Figure(chart, "distance against horizon", name="posterior_horizon"))
    return blocks


def _gradient(row: Mapping[str, Any]) -> str:
    return f"{_short(row['gradient'])} ({_short(row['gradient_90'])})"


def _value(row: Mapping[str, Any]) -> str:
    return _short(row["value"])


def _short(number: float) -> str:
    return f"{number:.3g}" if isfinite(number) else "∞"
