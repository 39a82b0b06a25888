"""Figures of pages whose studies draw none: read off the stored tables."""

import re
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from tfg_jax.files import write_atomically
from tfg_jax.runs.page import Tables


def _save(figure: Figure, file: Path) -> None:
    write_atomically(file, lambda out: figure.savefig(out, format="png", dpi=120, metadata={"Software": None}))


def speed(tables: Tables, file: Path) -> None:
    """Overheads with their intervals, beside the bar."""
    rows = tables["Overheads"]
    numbers = [[float(each) for each in re.findall(r"\d+\.\d+", row["ratio"])] for row in rows]
    figure = Figure((6, 2.8), layout="constrained")
    axes = figure.subplots()
    for i, (ratio, low, high) in enumerate(numbers):
        axes.errorbar(ratio, -i, xerr=[[ratio - low], [high - ratio]], fmt="o", color="C0")
    axes.axvline(1.0, color="0.6", linewidth=1)
    axes.axvline(1.03, color="C3", linewidth=1, linestyle=":")
    axes.set_yticks([-i for i in range(len(rows))], [row["what"] for row in rows])
    axes.set_xlabel("public call / scan by hand (dotted: the bar)")
    _save(figure, file)


def realism(tables: Tables, file: Path) -> None:
    """Of each kind of image, the share that each score calls unlike real ones."""
    rows = tables["What tells real garments from noise"]
    figure = Figure((6, 3.2), layout="constrained")
    axes = figure.subplots()
    for k, score in enumerate(("patches", "features", "moments")):
        shares = [float(row[score].split(",")[1].strip(" %")) for row in rows]
        axes.barh([-i - 0.27 * (k - 1) for i in range(len(rows))], shares, 0.25, label=score)
    axes.set_yticks([-i for i in range(len(rows))], [row["images"] for row in rows])
    axes.set_xlabel("% further out than 95 % of real images")
    axes.legend()
    _save(figure, file)


FIGURES: dict[str, Callable[[Tables, Path], None]] = {"speed": speed, "realism": realism}
"""Name of a page -> what draws its figure."""
