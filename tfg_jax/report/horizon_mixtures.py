"""The mixtures part of the page of the horizon study: tables and figures from stored numbers."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.metrics.intervals import mean_ci
from tfg_jax.report.panels import save_panels
from tfg_jax.report.table import markdown_table

REFERENCE = "tsit5 (diffrax)"
GRADIENTS = (
    "The mixture of [the horizon's page](../../horizon.md) on the line at s = 0.3, {n} states of the noisy "
    "distribution, float64. The error of a gradient is |log(J_h / J)|, J the derivative of the exact flow map: 0.69 is "
    "a factor of two, ∞ a wrong sign. Cells: median (90th percentile). The last solver stands for exact solves.\n"
)
POSTERIOR = (
    "A mixture of three modes in the plane, one linear measurement of it with noise 0.3; eight measurements, 128 "
    "samples each, DDIM of 50 steps with eta 1, which a longer horizon makes dearer (these rows are *not* at equal "
    "cost). Sliced Wasserstein distance and MMD to exact posterior samples, means over the measurements with 95 % "
    "t-intervals. "
    "The first row is the distance between exact samples, the second what the sampler adds. Every strength was chosen "
    "of six on other measurements and another seed; *edge* is a choice at an end of its range.\n"
)


def mixture_sections(page: Path, mixtures: Mapping[str, Any]) -> list[str]:
    """The sections of what has been computed."""
    text = []
    if "gradients" in mixtures:
        text += _gradients(page, mixtures["gradients"]["found"])
    if "adjoints" in mixtures:
        text += _adjoints(mixtures["adjoints"]["found"])
    rows = [each["found"] for name, each in mixtures.items() if name.startswith("posterior")]
    return text + (_posterior(page, rows) if rows else [])


def _gradients(page: Path, found: Sequence[Mapping[str, Any]]) -> list[str]:
    horizons = sorted({row["horizon"] for row in found if row["horizon"] is not None})
    text = ["## Gradients on a mixture\n", GRADIENTS.format(n=200)]
    for title, cell in (("Gradient", _gradient), ("Root mean square error of the estimate", _value)):
        table: dict[tuple, dict[str, Any]] = {}
        for row in found:
            line = {"solver": row["solver"], "steps": row["steps"], "evaluations": row["evaluations"]}
            line = table.setdefault((row["solver"], row["steps"]), line)
            line["no tail" if row["horizon"] is None else f"h = {row['horizon']:g}"] = cell(row)
        columns = ["solver", "steps", "evaluations", *(f"h = {h:g}" for h in horizons), "no tail"]
        shown = [name for name in columns if any(name in line for line in table.values())]
        text += [f"{title}:\n", markdown_table(list(table.values()), shown), ""]
    return text + _gradient_figures(page, found)


def _gradient_figures(page: Path, found: Sequence[Mapping[str, Any]]) -> list[str]:
    on_axis = [row for row in found if row["horizon"] is not None]
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
    one, two = (page.with_name(f"{page.stem}_{name}.png") for name in ("gradients", "precision"))
    ylabels = {"estimate": "root mean square error", "gradient": "median |log(J_h / J)|"}
    save_panels(one, curves, "horizon", ylabels, log_y=True)
    save_panels(two, precision, "network evaluations", ylabels["gradient"], log_x=True, log_y=True)
    return [
        f"Error of the estimate and of its gradient against the horizon:\n\n![errors against horizon]({one.name})\n",
        f"Error of the gradient against its cost:\n\n![error against network evaluations]({two.name})\n",
    ]


def _adjoints(found: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        {
            "adjoint": row["adjoint"], "evaluations": row["evaluations"], "gradient error": _gradient(row),
            "milliseconds": round(1e3 * row["seconds"], 1),
            "temporaries (kB)": None if row["temporary_bytes"] is None else round(row["temporary_bytes"] / 1e3, 1),
        }
        for row in found
    ]  # fmt: skip
    text = "The whole solve (h = 1) by 16 midpoint steps, all states at once; the least of five timings on a CPU.\n"
    return ["## Adjoints\n", text, markdown_table(rows), ""]


def _posterior(page: Path, found: Sequence[Mapping[str, Any]]) -> list[str]:
    rows, curve, costs = [], [], {}
    for row in found:
        distance = mean_ci(np.asarray(row["sliced_w2"]))
        strengths = [trial["strength"] for trial in row["trials"]]
        strength = "-" if row["strength"] is None else f"{row['strength']:g}"
        if strengths and row["strength"] in (strengths[0], strengths[-1]):
            strength += ", edge"
        rows.append(
            {
                "row": row["row"], "strength": strength, "sliced W2": distance,
                "MMD² x 1000": mean_ci(1e3 * np.asarray(row["mmd"])), "failed": row["failed"],
                "evaluations": row["evaluations"],
            }
        )  # fmt: skip
        point = (distance.value, distance.low, distance.high)
        if row["evaluations"]:
            costs[row["row"]] = [[each] for each in (row["evaluations"], *point)]
        if row["horizon"] is not None and row["row"] != "two-step Euler":
            curve.append((row["horizon"], *point))
    text = ["## Sampling a posterior exactly known\n", POSTERIOR, markdown_table(rows), ""]
    if costs:
        file = page.with_name(f"{page.stem}_posterior.png")
        save_panels(file, {"every method": costs}, "network evaluations a sample", "sliced W2", log_x=True, log_y=True)
        text.append(f"![distance against network evaluations]({file.name})\n")
    if curve:
        second = page.with_name(f"{page.stem}_posterior_horizon.png")
        save_panels(second, {"posterior": {"4 midpoint steps": np.array(sorted(curve)).T}}, "horizon", "sliced W2")
        text.append(f"![distance against horizon]({second.name})\n")
    return text


def _gradient(row: Mapping[str, Any]) -> str:
    return f"{_short(row['gradient'])} ({_short(row['gradient_90'])})"


def _value(row: Mapping[str, Any]) -> str:
    return _short(row["value"])


def _short(number: float) -> str:
    return f"{number:.3g}" if isfinite(number) else "∞"
