"""Curves in panels side by side, for documents."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfg_jax.report.charts import DASHES, MARKERS, PALETTE, Chart, add_legend, literal

Curve = Sequence[Any] | np.ndarray


def panels(
    series: Mapping[str, Mapping[str, Curve]],
    xlabel: str,
    ylabel: str | Mapping[str, str],
    *,
    log_x: bool = False,
    log_y: bool = False,
    apart: float = 0.0,
) -> Chart:
    """One panel a title, with one legend for all.

    Args:
        series: title -> name -> (x, y) or (x, y, low, high), vectors of one length; the last two are error bars. A
            name has one color in every panel.
        xlabel: of all panels.
        ylabel: of all panels, or one a title.
        log_x, log_y: logarithmic axes.
        apart: moves each curve sideways by this share of x from the one before, so that error bars do not hide others.

    Raises:
        ValueError: no panels.
    """
    from matplotlib.figure import Figure

    if not series:
        raise ValueError("series must hold at least one panel, got none.")
    names = list(dict.fromkeys(name for curves in series.values() for name in curves))
    across = min(len(series), 3)
    down = -(-len(series) // across)
    size, label = (1.2 + 3.4 * across, 0.7 + 2.9 * down), f"{', '.join(series)}, against {xlabel}: {', '.join(names)}"
    figure = Figure(size, dpi=130, layout="constrained", label=label)
    handles = {}
    for number, (title, curves) in enumerate(series.items(), 1):
        axes: Any = figure.add_subplot(down, across, number)
        for name, vectors in curves.items():
            x, y, *ends = (np.asarray(v, np.float64) for v in vectors)
            i = names.index(name)
            style = {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i // len(PALETTE) % len(DASHES)]}
            errors = [np.maximum(y - ends[0], 0.0), np.maximum(ends[1] - y, 0.0)] if ends else None
            x = x * (1.0 + apart * (i - 0.5 * (len(names) - 1)))
            marker = MARKERS[i % len(MARKERS)]
            handles[name] = axes.errorbar(x, y, errors, marker=marker, ms=4, lw=1.3, capsize=2, alpha=0.9, **style)
        axes.set_title(literal(title), fontsize=9)
        axes.set_xlabel(literal(xlabel), fontsize=8)
        axes.set_ylabel(literal(ylabel if isinstance(ylabel, str) else ylabel[title]), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
        if log_x:
            xs = [np.asarray(vectors[0], np.float64) for vectors in curves.values()]
            narrow = xs and max(map(np.max, xs)) < 20 * min(map(np.min, xs))  # too few decades for theirs alone
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}" if narrow else "")
            axes.tick_params(which="minor", labelsize=6)
        if log_y:
            axes.set_yscale("log")
    add_legend(figure, list(handles.values()), list(handles))
    return figure
