"""Line, bar and scatter charts as inline SVG, and a matplotlib scatter for documents."""

import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate
from tfg_jax.report.files import write_bytes
from tfg_jax.report.svg import DASHES, PALETTE, Axes, Svg, legend, line, mark, picture, span, text

Number = float | int | Estimate


@public
def line_chart(series: Mapping[str, Sequence], xlabel: str, ylabel: str, title: str = "") -> Svg:
    """Curves with optional bands.

    series: name to (x, y) or (x, y, low, high), vectors of one length. The curve breaks at non-finite points.
    Raises ValueError for no series or vectors of different lengths.
    """
    data = {name: [np.asarray(v, np.float64) for v in vectors] for name, vectors in series.items()}
    if not data:
        raise ValueError("series must hold at least one curve, got none.")
    for name, vectors in data.items():
        if len(vectors) not in (2, 4) or len({v.shape for v in vectors}) != 1 or vectors[0].ndim != 1:
            raise ValueError(f"series[{name!r}] must be (x, y) or (x, y, low, high) of one length, got "
                             f"{[v.shape for v in vectors]}.")  # fmt: skip
    strokes = [_stroke(i) for i in range(len(data))]
    samples = [f'<path d="M0 0H24" {stroke}/>' for stroke in strokes]
    key, top = legend(list(data), samples) if len(data) > 1 else ("", 16.0)
    across = [x for vectors in data.values() for x in vectors[0]]
    up = [y for vectors in data.values() for vector in vectors[1:] for y in vector]
    axes = Axes(span(across, 0.02), span(up), xlabel, ylabel, top)
    body = axes.frame() + key
    for i, vectors in enumerate(data.values()):
        if len(vectors) == 4:
            body += "".join(_band(axes, run, PALETTE[i % len(PALETTE)]) for run in _runs(vectors))
        for run in _runs(vectors[:2]):
            points = [axes.at(x, y) for x, y in run]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            body += f'<path d="{path}" {strokes[i]}/>' if len(run) > 1 else mark(*points[0], i, 3.0)
    return picture(body, title or f"{ylabel} against {xlabel}: {', '.join(data)}")


@public
def scatter(points: Mapping[str, tuple[Number, Number]], xlabel: str, ylabel: str, title: str = "") -> Svg:
    """One labelled point a name, with error bars where a coordinate is an `Estimate`; points that are not finite are
    listed in the legend as such. For example accuracy against Frechet distance, one point a method."""
    _check_points(points)
    kept = {name: xy for name, xy in points.items() if all(isfinite(_value(v)) for v in xy)}
    marks = [mark(12.0, 0.0, i) if name in kept else "" for i, name in enumerate(points)]
    key, top = legend([n if n in kept else f"{n} (not finite)" for n in points], marks)
    across, up = ([e for xy in kept.values() for e in (_value(xy[k]), *_ends(xy[k]))] for k in (0, 1))
    axes = Axes(span(across, 0.08), span(up, 0.08), xlabel, ylabel, top)
    body = axes.frame() + key
    for i, (name, (x, y)) in enumerate(points.items()):
        if name not in kept:
            continue
        stroke = f'stroke="{PALETTE[i % len(PALETTE)]}" stroke-width="1.5"'
        body += line(*axes.at(_ends(x)[0], _value(y)), *axes.at(_ends(x)[1], _value(y)), stroke)
        body += line(*axes.at(_value(x), _ends(y)[0]), *axes.at(_value(x), _ends(y)[1]), stroke)
        body += mark(*axes.at(_value(x), _value(y)), i)
    return picture(body, title or f"{ylabel} against {xlabel}: {', '.join(points)}")


def _check_points(points: Mapping[str, Any]) -> None:
    wrong = [name for name, point in points.items() if not isinstance(point, tuple | list) or len(point) != 2]
    if wrong:
        raise ValueError(f"points must hold (x, y) for every name, but not for {wrong[0]!r:.60}")


@public
def bar_chart(values: Mapping[str, Number], ylabel: str, title: str = "") -> Svg:
    """One bar a name from 0, with error bars where the value is an `Estimate`; a dash if it is not finite."""
    numbers = [e for v in values.values() for e in (_value(v), *_ends(v))]
    low, high = span([0.0, *numbers])
    axes = Axes(
        (-0.5, len(values) - 0.5), (0.0 if min(low, *_finite(numbers)) >= -0.05 * high else low, high), "", ylabel
    )
    room = 560 / 7 / max(len(values), 1)  # characters that fit under one bar
    names = [name if len(name) <= room else name[: max(1, int(room) - 1)] + "…" for name in values]
    body = axes.frame([(float(i), name) for i, name in enumerate(names)])
    for i, (name, value) in enumerate(values.items()):
        (left, base), (right, up) = (
            axes.at(i - 0.35, 0.0),
            axes.at(i + 0.35, _value(value) if isfinite(_value(value)) else 0.0),
        )
        hint = f"<title>{escape(f'{name}: {value}')}</title>"
        if not isfinite(_value(value)):
            body += text((left + right) / 2, base - 6, "–", anchor="middle")
            continue
        box = f'x="{left:.1f}" y="{min(base, up):.1f}" width="{right - left:.1f}" height="{abs(base - up):.1f}"'
        body += f'<rect {box} fill="{PALETTE[0]}">{hint}</rect>'
        if isinstance(value, Estimate):
            body += line(
                *axes.at(float(i), _ends(value)[0]),
                *axes.at(float(i), _ends(value)[1]),
                'stroke="currentColor" stroke-width="1.5"',
            )
    return picture(body, title or f"{ylabel}: {', '.join(values)}")


@public
def save_scatter(
    path: str | os.PathLike[str], points: Mapping[str, tuple[Number, Number]], xlabel: str, ylabel: str
) -> Path:
    """The same chart as `scatter`, drawn by matplotlib into a PNG file (atomic); non-finite points are left out."""
    from matplotlib.figure import Figure

    _check_points(points)
    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for i, (name, (x, y)) in enumerate(points.items()):
        if not (isfinite(_value(x)) and isfinite(_value(y))):
            continue
        errors = [np.abs(np.subtract(_ends(v), _value(v)))[:, None] for v in (x, y)]
        style = {"color": PALETTE[i % len(PALETTE)], "marker": "osD^"[i % 4], "linestyle": "none", "capsize": 3}
        axes.errorbar(_value(x), _value(y), xerr=errors[0], yerr=errors[1], label=name, **style)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return write_bytes(path, buffer.getvalue())


def _value(number: Number) -> float:
    return number.value if isinstance(number, Estimate) else float(number)


def _ends(number: Number) -> tuple[float, float]:
    """The interval, or the value itself where an end is unknown."""
    if not isinstance(number, Estimate):
        return float(number), float(number)
    low, high = (end if isfinite(end) else number.value for end in (number.low, number.high))
    return low, high


def _finite(numbers: Sequence[float]) -> list[float]:
    return [v for v in numbers if not isnan(v)] or [0.0]


def _stroke(i: int) -> str:
    dash = f' stroke-dasharray="{DASHES[i % len(DASHES)]}"' if DASHES[i % len(DASHES)] else ""
    return f'fill="none" stroke="{PALETTE[i % len(PALETTE)]}" stroke-width="2"{dash}'


def _runs(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Maximal stretches (points, vectors) in which every vector is finite."""
    points = np.stack(vectors, axis=1)
    finite = [bool(np.isfinite(point).all()) for point in points]
    return [points[list(run)] for ok, run in groupby(range(len(points)), key=finite.__getitem__) if ok]


def _band(axes: Axes, run: np.ndarray, colour: str) -> str:
    outline = [axes.at(x, low) for x, _, low, _ in run] + [axes.at(x, high) for x, _, _, high in run[::-1]]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
    return f'<polygon points="{points}" fill="{colour}" fill-opacity=".18"/>'
