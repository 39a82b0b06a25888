"""Figures of the page of molecules: error against stability, and gradients against the horizon."""

from __future__ import annotations

from typing import Any

import numpy as np

from qm9.diagnosis import HORIZONS
from qm9.lines import Result, Rows, error_of, in_full
from tfg_jax.report.page import Block, Figure, Table, Text
from tfg_jax.studies.panels import panels

SHOWN = ("greedy", "TFG", "MPGD", "two-step Euler", "midpoint", "horizon 0.5", "horizon 0.9", "horizon 1",
         "source, Adam")  # fmt: skip
WHY = (
    "Gradient of the objective through a solve to a share of the remaining way (horizon) and one Tweedie step from "
    "there, against that through the whole solve, {steps} midpoint steps each, at noise levels s (0 noise, 1 data), "
    "of unguided samples taken back to s. Mean cosine with its standard error, and median of the norm over the "
    "whole solve's. The last column is the whole solve's cosine to that in half the steps: where it is far from 1 the "
    "flow is not solved, and no cosine says anything. By `diagnose_horizon`."
)


def trade_off(options: Any, rows: Rows) -> list[Block]:
    """A panel a property: every strength that was tried and the report, in order of stability."""
    curves: dict[str, dict[str, Any]] = {}
    for name in options.properties:
        for row, result in rows.guided("evaluations", name):
            word = row.labels["row"]
            points = [point for each in (*result["trials"], result["report"]) if (point := point_of(each, name))]
            if word in SHOWN and points:
                curves.setdefault(in_full(name), {})[word] = np.array(sorted(points)).T
    if not curves:
        return [Text("Not run yet: `--only evaluations`.")]
    chart = panels(curves, "stable atoms", "error by the evaluator", log_y=True)
    caption = "Every strength tried and the reported one, at equal evaluations; down and to the right is better"
    return [Figure(chart, "error against stability", caption, "trade_off")]


def point_of(result: Result, name: str) -> tuple[float, float] | None:
    """Stability and error of a trial or report."""
    error = error_of(result, name)
    return None if error is None else (result["numbers"]["atom_stability"], error.value)


def diagnosis_blocks(rows: Rows) -> list[Block]:
    """Tables of cosine and norm, a line a data set and noise level, and a figure."""
    done = {
        row.labels["property"]: (row, rows.known[row.name]) for row in rows.of("diagnosis") if row.name in rows.known
    }
    missing = [row.labels["property"] for row in rows.of("diagnosis") if row.name not in rows.known]
    left: list[Block] = [Text(f"Not run yet (`--only diagnosis`): {'; '.join(missing)}.")] if missing else []
    if not done:
        return left
    cosines, norms, curves = [], [], {}
    steps = next(iter(done.values()))[1]["config"]["solve_steps"]
    for name, (_, result) in done.items():
        levels = [each for each in result["report"]["levels"] if len(each["cosine"])]
        series: dict[str, list[list[float]]] = {}
        for level in levels:
            cosine, norm = np.asarray(level["cosine"], float), np.asarray(level["norm"], float)
            whole = np.maximum(norm[:, -1:], 1e-30)
            head = {"data": name, "s": f"{level['s']:g}", "n": len(cosine)}
            error = cosine.std(0, ddof=min(1, len(cosine) - 1)) / len(cosine) ** 0.5
            means, ratios = cosine.mean(0), np.median(norm / whole, axis=0)
            near = [f"{mean:.2f} ± {spread:.2f}" for mean, spread in zip(means, error, strict=True)]
            half = {"h = 1 in half the steps": f"{np.mean(level['half']):.2f}"}
            cosines.append(head | dict(zip([f"h = {h:g}" for h in HORIZONS[:-1]], near[:-1], strict=True)) | half)
            norms.append(head | dict(zip([f"h = {h:g}" for h in HORIZONS[:-1]], map(float, ratios[:-1]), strict=True)))
            for i, h in enumerate(HORIZONS[:-1]):
                point = [level["s"], means[i], means[i] - error[i], means[i] + error[i]]
                series.setdefault(f"horizon {h:g}", []).append(point)
        curves[name] = {word: np.array(points).T for word, points in series.items()}
    chart = panels(curves, "s (0 noise, 1 data)", "cosine to the whole solve", apart=0.01)
    caption = "Cosine of the gradient to that of the whole solve against the noise level"
    return [
        Text(WHY.format(steps=steps)), Table(cosines, caption="Cosine"), Table(norms, caption="Norm over the whole's"),
        Figure(chart, "cosine against noise level", caption, "gradients"), *left,
    ]  # fmt: skip
