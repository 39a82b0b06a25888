"""The images part of the horizon study: rows of (problem, budget, method), each in resumable folders of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfg_jax.files import slug
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.study import Row, Study
from tfg_jax.studies.horizon.images import NOISE_STD, REPORT, TRIAL, Networks, row_task, score
from tfg_jax.studies.horizon.rows import LABEL, ImageRow, image_rows
from tfg_jax.tasks.inverse import PROBLEMS

NUMBERS = ("strength", "rho", "mu", "rate")
RATE = 165  # network evaluations a second, as the published run took, compilation and scoring included


def images_study(
    folder: Path, problems: Iterable[str], budgets: Iterable[int], sizes: Any, networks: Networks
) -> Study:
    """All rows, cheapest budget first.

    Args:
        folder: of its results and samples.
        problems: names of `tfg_jax.tasks.PROBLEMS`, or "label".
        budgets: network evaluations a sample.
        sizes: samples of a row.
        networks: loaded when the first row is computed.

    Raises:
        ValueError: unknown problems, or budgets below what a row needs.
    """
    problems, budgets = list(problems), sorted(set(budgets))
    for name in problems:
        if name not in PROBLEMS and name != LABEL:
            raise ValueError(f"problems={name!r} is unknown; choose of {', '.join(PROBLEMS)}, {LABEL}")
    rows = []
    for budget in budgets:
        for problem in problems:
            label, first = problem == LABEL, budget == budgets[0]
            reported = sizes.images if first else sizes.costly_images
            size = _Size(reported, sizes.trial_images, sizes.chunk)
            size = _Size(sizes.label_samples, sizes.trial_samples, sizes.label_chunk) if label else size
            for name, row in image_rows(budget, problem, first=first).items():
                known_by = {"problem": problem, "budget": budget, "row": name}
                rows.append(_row(folder, known_by, row, size, networks))
    return Study(folder, rows)


class _Size(NamedTuple):
    """Samples of a row's report and of each of its trials, and how many are computed together."""

    reported: int
    tried: int
    chunk: int


def _row(folder: Path, known_by: Mapping[str, Any], row: ImageRow, size: _Size, networks: Networks) -> Row:
    (problem, budget, name), (reported, tried, chunk) = known_by.values(), size

    def measure(method: Any, trial: bool) -> dict[str, Any]:
        n, seed = (tried, TRIAL) if trial else (reported, REPORT)
        own = {**known_by, "what": row.what, "noise_std": NOISE_STD, "weights_sha256": networks.weights,
               "setting": setting(method), "seed": seed}  # fmt: skip
        # Named by its strength, so that other trials of a row keep what they share.
        words = re.sub(r"[^\w.]+", "-", f"{'trial' if trial else 'report'} {setting(method)}").strip("-")
        path = folder / problem / str(budget) / slug(name) / words
        asked = networks.problem(problem, seed, n)
        title = f"{problem} {budget} {name}, {words}"
        task, options = row_task(asked, row), {"conditional": row.conditional, "name": title, "own": own}
        run = Run(task, method, n, seed, min(chunk, n), **options)
        numbers = score(networks, asked, run.samples(path))
        return {**numbers, "setting": setting(method), "seconds": seconds_of(path)}

    config = {
        **known_by, "what": row.what, "chunk": chunk, "trials": [setting(trial) for trial in row.trials],
        "reported": reported, "tried": tried, "noise_std": NOISE_STD, "horizon": row.horizon,
    }  # fmt: skip
    whole = lambda n: -(-n // chunk) * chunk  # noqa: E731
    trials = len(row.trials) if len(row.trials) > 1 else 0
    samples = trials * whole(tried) + whole(reported)
    return Row(
        f"{problem}/{budget}/{name}", "images", config, measure, row.trials, samples, evaluations=row.evaluations,
        seconds=row.evaluations * samples / RATE, labels=known_by, shown={"what": row.what},
        inputs=lambda: networks.weights,
    )  # fmt: skip


def setting(method: Any) -> str:
    """The numbers that tuning varies, as short text."""
    named = [(name, getattr(method, name, None)) for name in NUMBERS]
    return ", ".join(f"{name} {value:.3g}" for name, value in named if value is not None) or "-"
