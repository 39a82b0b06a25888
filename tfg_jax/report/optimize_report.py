"""The page of an optimization run: reward by round, how strongly the gradient guides, images by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.optimize import Optimized
from tfg_jax.report.curves import line_chart
from tfg_jax.report.files import write_json
from tfg_jax.report.html import Block, Config, Figure, Numbers, Section, Text, write_report
from tfg_jax.report.images import grid, save_png
from tfg_jax.report.table import text_table

ROWS, COLUMNS = 8, 12
"""Rounds and images shown, at most."""


def write_optimize_report(
    out: Path, found: Optimized, rounds: Sequence[Mapping[str, np.ndarray]], reward: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    """metrics.json, grid.png and report.html in `out`, and a table on the terminal; returns the metrics.

    Args:
        out: the folder.
        found: the run.
        rounds: arrays of every round, with images "x".
        reward: what is raised.
        config: shown folded at the end of the page.
    """
    history = {name: np.asarray(values, np.float64) for name, values in found.history.items()}
    metrics: dict[str, Any] = {
        "reward": reward, "rounds": found.rounds, "stopped": found.stopped,
        "reward_first": float(history["reward"][0]), "reward_last": float(history["reward"][-1]),
        "implicit_lambda": found.implicit_lambda, "failed_samples": int(history["failed"].sum()),
        "seconds": float(history["seconds"].sum()),
        "history": {name: values.tolist() for name, values in history.items()},
    }  # fmt: skip
    write_json(out / "metrics.json", metrics)
    shown = np.unique(np.linspace(0, found.rounds, min(ROWS, found.rounds + 1)).round().astype(int))
    picture = grid(
        [np.asarray(rounds[k]["x"][:COLUMNS]) for k in shown], row_labels=[f"round {k}" for k in shown], scale=2
    )
    save_png(out / "grid.png", picture)
    x = np.arange(found.rounds + 1, dtype=float)
    mean, std = history["reward"], history["reward_std"]
    curve = line_chart({"mean": (x, mean, mean - std, mean + std)}, "round", reward)
    numbers: dict[str, Any] = {
        "reward, unguided": metrics["reward_first"], "reward, last round": metrics["reward_last"],
        "rounds": found.rounds, "images that failed": metrics["failed_samples"], "seconds": metrics["seconds"],
    }  # fmt: skip
    if found.implicit_lambda is not None:
        numbers["implicit regularizer, noise_std^2 / delta"] = found.implicit_lambda
    blocks: list[Block] = [Numbers(numbers)]
    if found.stopped is not None:
        blocks.append(Text(f"Every image of round {found.stopped} failed; the run ended there.", warning=True))
    blocks.append(Figure(curve, f"{reward} by round", "Mean over the batch, with one standard deviation."))
    if "gradient_over_noise" in history:
        strong = line_chart({"ratio": (x, history["gradient_over_noise"])}, "round", "|gradient| / noise_std")
        blocks.append(Figure(strong, "strength by round", "Guidance fades where this is of order 1 or smaller."))
    sections = [
        Section("Reward by round", blocks),
        Section("Images by round", [Figure(picture, "images by round", "The same places of the batch in every row.")]),
        Section("Configuration", [Config(config)]),
    ]
    write_report(out / "report.html", f"Optimizing {reward}", sections)
    rows = [
        {"round": int(k), "reward": float(mean[k]), "best": float(history["reward_best"][k]),
         "failed": int(history["failed"][k])}
        for k in shown
    ]  # fmt: skip
    print(text_table(rows))
    print(f"\npicture  {out / 'grid.png'}\nreport   {out / 'report.html'}\nnumbers  {out / 'metrics.json'}")
    return metrics
