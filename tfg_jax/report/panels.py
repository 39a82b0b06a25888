"""Curves in panels side by side, drawn by matplotlib into a PNG file for documents."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.report.files import write_bytes
from tfg_jax.report.svg import PALETTE

Curve = Sequence[Any] | np.ndarray
STYLES = ("-", "--", ":", "-.")


def save_panels(
    path: str | os.PathLike[str],
    panels: Mapping[str, Mapping[str, Curve]],
    xlabel: str,
    ylabel: str | Mapping[str, str],
    *,
    log_x: bool = False,
    log_y: bool = False,
    apart: float = 0.0,
) -> Path:
    """Draw one panel a title, with one legend for all; written atomically.

    Args:
        path: PNG file.
        panels: title -> series -> (x, y) or (x, y, low, high), vectors of one length; the last two are error bars. A
            series has one colour in every panel.
        xlabel: of all panels.
        ylabel: of all panels, or one a title.
        log_x, log_y: logarithmic axes.
        apart: moves each series sideways by this share of x from the one before, so that error bars do not hide others.

    Raises:
        ValueError: no panels.
    """
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("panels must hold at least one panel, got none.")
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(1.2 + 3.4 * across, 0.7 + 2.9 * down), dpi=130, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    handles = {}
    for axes, (title, series) in zip(grid.flat, panels.items(), strict=False):
        for name, vectors in series.items():
            x, y, *ends = (np.asarray(v, np.float64) for v in vectors)
            i = names.index(name)
            x = x * (1.0 + apart * (i - 0.5 * (len(names) - 1)))
            style = {"color": PALETTE[i % len(PALETTE)], "linestyle": STYLES[i // len(PALETTE) % len(STYLES)]}
            errors = [np.maximum(y - ends[0], 0.0), np.maximum(ends[1] - y, 0.0)] if ends else None
            handles[name] = axes.errorbar(
                x, y, yerr=errors, marker="osD^vP"[i % 6], ms=4, lw=1.3, capsize=2, alpha=0.9, **style
            )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(xlabel, fontsize=8)
        axes.set_ylabel(ylabel if isinstance(ylabel, str) else ylabel[title], fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}" if _narrow(series) else "")
            axes.tick_params(which="minor", labelsize=6)
        if log_y:
            axes.set_yscale("log")
    figure.legend(handles.values(), handles, loc="outside right upper", fontsize=7, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return write_bytes(path, buffer.getvalue())


def _narrow(series: Mapping[str, Curve]) -> bool:
    """Whether a logarithmic axis has too few decades for the labels of decades alone."""
    across = np.concatenate([np.zeros(0), *(np.asarray(vectors[0], np.float64) for vectors in series.values())])
    return bool(across.size and across.max() < 20 * across.min())
