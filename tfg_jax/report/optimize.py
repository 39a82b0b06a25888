"""The report of an optimization run: reward by round, how strongly the gradient guides, images by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfg_jax.optimize import Optimized
from tfg_jax.report.charts import line_chart
from tfg_jax.report.images import grid
from tfg_jax.report.page import Block, Config, Figure, Numbers, Report, Section, Text

ROWS, COLUMNS = 8, 12
"""Rounds and images shown, at most."""


def optimize_metrics(run: Optimized, reward: str) -> dict[str, Any]:
    """All numbers of a run under plain names; reward: what is raised."""
    history = {name: np.asarray(values, np.float64) for name, values in run.history.items()}
    return {
        "reward": reward, "rounds": run.rounds, "stopped": run.stopped,
        "reward_first": float(history["reward"][0]), "reward_last": float(history["reward"][-1]),
        "implicit_lambda": run.implicit_lambda, "failed_samples": int(history["failed"].sum()),
        "seconds": float(history["seconds"].sum()),
        "history": {name: values.tolist() for name, values in history.items()},
    }  # fmt: skip


def shown_rounds(run: Optimized) -> list[int]:
    """The rounds of pictures and tables: all, or as many evenly spaced ones as there is room for."""
    return np.unique(np.linspace(0, run.rounds, min(ROWS, run.rounds + 1)).round().astype(int)).tolist()


def round_rows(run: Optimized) -> list[dict[str, Any]]:
    """The shown rounds as lines of a table."""
    history = run.history
    return [
        {"round": k, "reward": float(history["reward"][k]), "best": float(history["reward_best"][k]),
         "failed": int(history["failed"][k])}
        for k in shown_rounds(run)
    ]  # fmt: skip


def optimize_report(
    run: Optimized, rounds: Sequence[Mapping[str, np.ndarray]], reward: str, config: Mapping[str, Any]
) -> Report:
    """The report of a run.

    Args:
        run: the run.
        rounds: arrays of every round, with images "x".
        reward: what is raised.
        config: shown folded at the end of the page.
    """
    numbers = optimize_metrics(run, reward)
    history = {name: np.asarray(values) for name, values in numbers["history"].items()}
    shown = shown_rounds(run)
    picture = grid(
        [np.asarray(rounds[k]["x"][:COLUMNS]) for k in shown], row_labels=[f"round {k}" for k in shown], scale=2
    )
    x, mean, std = np.arange(run.rounds + 1.0), history["reward"], history["reward_std"]
    main: dict[str, Any] = {
        "reward, unguided": numbers["reward_first"], "reward, last round": numbers["reward_last"],
        "rounds": run.rounds, "images that failed": numbers["failed_samples"], "seconds": numbers["seconds"],
    }  # fmt: skip
    if run.implicit_lambda is not None:
        main["implicit regularizer, noise_std^2 / delta"] = run.implicit_lambda
    blocks: list[Block] = [Numbers(main)]
    if run.stopped is not None:
        blocks.append(Text(f"Every image of round {run.stopped} failed; the run ended there.", warning=True))
    chart = line_chart({"mean": (x, mean, mean - std, mean + std)}, "round", reward)
    blocks.append(Figure(chart, f"{reward} by round", "Mean over the batch, with one standard deviation."))
    if "gradient_over_noise" in history:
        chart = line_chart({"ratio": (x, history["gradient_over_noise"])}, "round", "|gradient| / noise_std")
        blocks.append(Figure(chart, "strength by round", "Guidance fades where this is of order 1 or smaller."))
    images = Figure(picture, "images by round", "The same places of the batch in every row.")
    sections = [
        Section("Reward by round", blocks),
        Section("Images by round", [images]),
        Section("Configuration", [Config(config)]),
    ]
    return Report(f"Optimizing {reward}", sections, numbers=numbers, picture=picture)
