"""Charts as matplotlib figures, which a user may change before they are shown, saved, or put on a page."""

import base64
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfg_jax.files import write_bytes
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate
from tfg_jax.report.table import show

# Okabe and Ito's palette, told apart with every common color vision; mid tones first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
MOST_SHAPES = 1000  # points that a page still holds one by one
DASHES, MARKERS = ("-", "--", ":", "-."), "osD^vP"

Number = float | int | Estimate


@runtime_checkable
class Chart(Protocol):
    """What is needed of matplotlib's `Figure`; its label is its text for those who cannot see it."""

    @property
    def axes(self) -> list[Any]: ...
    def get_label(self) -> object: ...
    def savefig(self, fname: Any, **kwargs: Any) -> None: ...


@public
def line_chart(series: Mapping[str, Sequence], xlabel: str, ylabel: str, title: str = "") -> Chart:
    """Curves with optional bands.

    series: name to (x, y) or (x, y, low, high), vectors of one length. The curve breaks at non-finite points.
    title: what the chart shows, for those who cannot see it; default the labels and names.
    Raises ValueError for no series or vectors of different lengths.
    """
    data = {name: [np.asarray(v, np.float64) for v in vectors] for name, vectors in series.items()}
    if not data:
        raise ValueError("series must hold at least one curve, got none.")
    for name, vectors in data.items():
        if len(vectors) not in (2, 4) or len({v.shape for v in vectors}) != 1 or vectors[0].ndim != 1:
            raise ValueError(f"series[{name!r}] must be (x, y) or (x, y, low, high) of one length, got "
                             f"{[v.shape for v in vectors]}.")  # fmt: skip
    figure, axes = _figure(xlabel, ylabel, title or f"{ylabel} against {xlabel}: {', '.join(data)}")
    handles = []
    for i, vectors in enumerate(data.values()):
        x, y, *ends = (np.where(np.isfinite(vectors).all(axis=0), v, np.nan) for v in vectors)
        alone = "" if np.isfinite(y[:-1] + y[1:]).any() else "o"
        handles += axes.plot(x, y, marker=alone, color=PALETTE[i % len(PALETTE)], linestyle=DASHES[i % len(DASHES)])
        if ends:
            axes.fill_between(x, *ends, color=PALETTE[i % len(PALETTE)], alpha=0.18, linewidth=0)
    if all((vectors[0] % 1 == 0).all() for vectors in data.values()):
        axes.locator_params(axis="x", integer=True)  # steps and rounds
    if len(data) > 1:
        add_legend(figure, handles, list(data))
    return figure


@public
def scatter(points: Mapping[str, Sequence[Number]], xlabel: str, ylabel: str, title: str = "") -> Chart:
    """One labelled point a name, with error bars where a coordinate is an `Estimate`; points that are not finite are
    listed in the legend as such. For example accuracy against Frechet distance, one point a method. title: as
    `line_chart`'s."""
    wrong = [name for name, point in points.items() if len(point) != 2]
    if wrong:
        raise ValueError(f"points must hold (x, y) for every name, but not for {wrong[0]!r:.60}")
    figure, axes = _figure(xlabel, ylabel, title or f"{ylabel} against {xlabel}: {', '.join(points)}")
    handles, names = [], []
    for i, (name, (x, y)) in enumerate(points.items()):
        finite = isfinite(_value(x)) and isfinite(_value(y))
        x, y = (x, y) if finite else (np.nan, np.nan)
        style = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "linestyle": "none"}
        drawn = axes.errorbar(_value(x), _value(y), _error(y), _error(x), elinewidth=1.2, capsize=3, **style)
        handles.append(drawn.lines[0])
        names.append(name if finite else f"{name} (not finite)")
    if names:
        add_legend(figure, handles, names)
    return figure


def match_chart(requested: Sequence[float], reached: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> Chart:
    """What was reached against what was requested: many points a name, and the line where both are the same; how many
    are not finite stands in the legend."""
    x = np.asarray(requested, np.float64)
    figure, axes = _figure(xlabel, ylabel, f"{ylabel} against {xlabel}: {', '.join(reached)}")
    handles, names = [], []
    for i, (name, values) in enumerate(reached.items()):
        y = np.asarray(values, np.float64)
        finite = np.isfinite(x) & np.isfinite(y)
        style = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "linestyle": "none"}
        many = len(x) > MOST_SHAPES
        handles += axes.plot(x[finite], y[finite], markersize=3, alpha=0.6, markeredgewidth=0, rasterized=many, **style)
        names.append(name + f" ({(~finite).sum()} not finite)" * (not finite.all()))
    shown = x[np.isfinite(x)]
    if len(shown):
        ends = [shown.min(), shown.max()]
        handles += axes.plot(ends, ends, color=PALETTE[-1], linestyle="--", linewidth=1, zorder=1)
        names.append("as requested")
    add_legend(figure, handles, names)
    return figure


@public
def bar_chart(values: Mapping[str, Number], ylabel: str, title: str = "") -> Chart:
    """One bar a name from 0, with error bars where the value is an `Estimate`; a dash if it is not finite. title: as
    `line_chart`'s."""
    said = ", ".join(f"{name} {show(value)}" for name, value in values.items())
    figure, axes = _figure("", ylabel, title or f"{ylabel}: {said}")
    axes.set_xlim(-0.5, max(len(values), 1) - 0.5)
    axes.grid(visible=False, axis="x")
    for i, value in enumerate(values.values()):
        if isfinite(_value(value)):
            axes.bar(i, _value(value), 0.7, color=PALETTE[0], yerr=_error(value), error_kw={"lw": 1.2, "capsize": 3})
        else:
            axes.text(i, 0.0, "–", ha="center", va="bottom")
    slant = {"rotation": 30, "ha": "right"} if sum(map(len, values)) > 60 else {}
    axes.set_xticks(range(len(values)), [literal(name) for name in values], **slant)
    return figure


@public
def save_chart(path: str | os.PathLike[str], chart: Chart) -> Path:
    """Draw a chart into a PNG file, atomically."""
    return write_bytes(path, _drawn(chart, format="png", metadata={"Software": None}))


@public
def save_scatter(
    path: str | os.PathLike[str], points: Mapping[str, Sequence[Number]], xlabel: str, ylabel: str
) -> Path:
    """`scatter` as a PNG file, written atomically."""
    return save_chart(path, scatter(points, xlabel, ylabel))


def svg_data_uri(chart: Chart) -> str:
    """A chart as an address that holds it whole: the same bytes for the same chart, text in the reader's fonts."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tfg_jax"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the reader's fonts may well have it
        drawn = _drawn(chart, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(drawn).decode("ascii")


def _drawn(chart: Chart, **options: Any) -> bytes:
    buffer = io.BytesIO()
    chart.savefig(buffer, **options)
    return buffer.getvalue()


def _figure(xlabel: str, ylabel: str, label: str) -> tuple[Any, Any]:
    """A figure that nothing but its owner knows, with one plot; on white, since a page may be dark."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained", facecolor="white", label=label)
    axes = figure.add_subplot(xlabel=literal(xlabel), ylabel=literal(ylabel))
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def add_legend(figure: Any, handles: list, names: list[str]) -> None:
    """The names beside their lines, at the right of all plots; matplotlib would hide one that starts with _."""
    names = [literal(f" {name}" if name.startswith("_") else name) for name in names]
    figure.legend(handles, names, loc="outside right upper", fontsize=7 if len(names) > 8 else 8, frameon=False)


def literal(text: str) -> str:
    """Text that matplotlib shows as it is: a dollar opens no formula."""
    return text.replace("$", r"\$")


def _value(number: Number) -> float:
    return number.value if isinstance(number, Estimate) else float(number)


def _error(number: Number) -> list[list[float]] | None:
    """How far the ends of the interval are from the value, 0 where an end is unknown."""
    if not isinstance(number, Estimate):
        return None
    low, high = (end if isfinite(end) else number.value for end in (number.low, number.high))
    return [[max(number.value - low, 0.0)], [max(high - number.value, 0.0)]]
