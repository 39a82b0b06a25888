"""Pictures of the study: curves by round, the sphere, and samples in three dimensions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradient_guidance.problems import linear_problem
from tfg_jax.report import save_chart
from tfg_jax.studies.panels import panels

POINTS = 60  # of a curve, at most about


def curves(path: Path, series: Mapping[str, Mapping[str, np.ndarray]], ylabel: str, log: bool = False) -> None:
    """One panel a title, values by round of each name in it."""
    thin = lambda y: [v[:: max(1, len(y) // POINTS)] for v in (np.arange(len(y)), y)]  # noqa: E731
    thinned = {title: {name: thin(y) for name, y in lines.items()} for title, lines in series.items()}
    save_chart(path, panels(thinned, "round", ylabel, log_y=log))


def front(path: Path, by: Mapping[tuple[str, float], Mapping[str, float]]) -> None:
    """Reward against radius, one line a guidance."""
    lines = {name: np.array([(v["ratio"], v["reward"]) for (n, _), v in by.items() if n == name]).T for name, _ in by}
    save_chart(path, panels({"sphere": lines}, "|x| - 1", "reward"))


def views(path: Path, seed: int, series: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """One panel a title: clouds (n, 3) in the linear problem's frame, beside the data."""
    from matplotlib.figure import Figure

    problem = linear_problem(seed=seed)
    start = np.random.default_rng(0).standard_normal((32, problem.basis.shape[1])) @ problem.basis.T
    figure = Figure(figsize=(5.0 * len(series), 4.4), dpi=110, layout="constrained")
    for i, (title, clouds) in enumerate(series.items(), 1):
        axes: Any = figure.add_subplot(1, len(series), i, projection="3d")
        for name, cloud in {"data": start @ problem.frame(), **clouds}.items():
            axes.scatter(*cloud.T, s=8, label=name)
        axes.set(title=title, xlabel="along theta, inside", ylabel="inside", zlabel="across")
        axes.legend(frameon=False, fontsize=8)
    save_chart(path, figure)
