"""The images part of `tfg-jax study horizon`: cells of (problem, budget, row), each a resumable folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfg_jax.files import read_json, slug, write_json
from tfg_jax.locks import lock
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.store import fingerprint
from tfg_jax.tasks.horizon_images import NOISE_STD, REPORT, TRIAL, Networks, row_task, score
from tfg_jax.tasks.horizon_rows import LABEL, Row, image_rows
from tfg_jax.tasks.inverse import PROBLEMS

RESULT = "result.json"
NUMBERS = ("strength", "rho", "mu", "rate")
RATE = 165  # network evaluations a second, as the published run took, compilation and scoring included


@dataclass(frozen=True)
class Cell:
    """One row of one problem at one budget."""

    problem: str
    budget: int
    name: str
    row: Row
    reported: int
    tried: int
    chunk: int

    @property
    def slug(self) -> Path:
        """Its folder, inside that of the part."""
        return Path(self.problem, str(self.budget), slug(self.name))

    @property
    def samples(self) -> int:
        """Samples of its trials and of its report, as computed: whole chunks."""
        whole = lambda n: -(-n // self.chunk) * self.chunk  # noqa: E731
        trials = len(self.row.trials) if len(self.row.trials) > 1 else 0
        return trials * whole(self.tried) + whole(self.reported)

    @property
    def evaluations(self) -> int:
        """Network evaluations of all its samples."""
        return self.row.evaluations * self.samples


def plan(problems: Iterable[str], budgets: Iterable[int], sizes: Any, only: Iterable[str] = ()) -> list[Cell]:
    """All cells, cheapest budget first.

    Args:
        problems: names of `tfg_jax.tasks.PROBLEMS`, or "label".
        budgets: network evaluations a sample.
        sizes: samples of a cell.
        only: names of problems, budgets or rows to keep: of each kind, all if none is named.

    Raises:
        ValueError: unknown problems, budgets below what a row needs, or a name in ``only`` that nothing has.
    """
    problems, budgets, only = list(problems), sorted(set(budgets)), set(only)
    for name in problems:
        if name not in PROBLEMS and name != LABEL:
            raise ValueError(f"problems={name!r} is unknown; choose of {', '.join(PROBLEMS)}, {LABEL}")
    cells = []
    for budget in budgets:
        for problem in problems:
            label, first = problem == LABEL, budget == budgets[0]
            reported = sizes.label_samples if label else sizes.images if first else sizes.costly_images
            tried, chunk = (sizes.trial_samples, sizes.label_chunk) if label else (sizes.trial_images, sizes.chunk)
            cells += [
                Cell(problem, budget, name, row, reported=reported, tried=tried, chunk=chunk)
                for name, row in image_rows(budget, problem, first=first).items()
            ]
    kinds = [{getattr(cell, kind) for cell in cells} for kind in ("problem", "name")]
    kinds.append({str(budget) for budget in budgets})
    if unknown := sorted(only - set().union(*kinds)):
        known = ", ".join(sorted(set().union(*kinds)))
        raise ValueError(f"only={' '.join(unknown)!r} is no problem, budget or row; choose of {known}")
    kept = [kind & only or kind for kind in kinds]
    return [c for c in cells if c.problem in kept[0] and c.name in kept[1] and str(c.budget) in kept[2]]


def plan_rows(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """The table of a plan."""
    return [
        {
            "problem": cell.problem, "budget": cell.budget, "row": cell.name, "what": cell.row.what,
            "evaluations": cell.row.evaluations, "samples": cell.samples, "all evaluations": cell.evaluations,
            "minutes": round(cell.evaluations / RATE / 60, 1),
        }
        for cell in cells
    ]  # fmt: skip


def missing_cells(cells: Iterable[Cell], out: Path) -> list[Cell]:
    """The cells without a stored result of their sizes and settings, whatever the weights."""
    left = []
    for cell in cells:
        known = read_result(out / cell.slug)
        if known is None or {**known["config"], "weights_sha256": None} != _config(cell, None):
            left.append(cell)
    return left


def run_cells(networks: Networks, cells: Iterable[Cell], out: Path) -> Iterator[dict[str, Any]]:
    """Each cell's result, computed unless its folder has it: tuned on one seed, reported on another.

    Raises `Interrupted` on a signal, after the chunk at hand is on disk.
    """
    weights = {
        "model": fingerprint(networks.model.params), "guide": fingerprint(networks.label.guide.params),
        "evaluator": fingerprint(networks.label.judge.evaluator.params),
    }  # fmt: skip
    for cell in cells:
        with lock(out / cell.slug):
            result = _run_cell(networks, cell, out / cell.slug, weights)
        yield result


def _config(cell: Cell, weights: dict[str, str] | None) -> dict[str, Any]:
    return {
        "problem": cell.problem, "budget": cell.budget, "row": cell.name, "what": cell.row.what, "chunk": cell.chunk,
        "trials": [setting(trial) for trial in cell.row.trials], "reported": cell.reported, "tried": cell.tried,
        "noise_std": NOISE_STD, "weights_sha256": weights,
    }  # fmt: skip


def _run_cell(networks: Networks, cell: Cell, home: Path, weights: dict[str, str]) -> dict[str, Any]:
    config = _config(cell, weights)
    known = read_result(home)
    if known is not None and known["config"] == config:
        return known
    trials, best = [], 0
    if len(cell.row.trials) > 1:
        for i in range(len(cell.row.trials)):
            trials.append(_samples(networks, cell, home, i, config, seed=TRIAL, n=cell.tried))
        best = max(range(len(trials)), key=lambda i: trials[i]["score"])
    found = _samples(networks, cell, home, best, config, seed=REPORT, n=cell.reported)
    result = {
        "config": config, "kept": best, "setting": setting(cell.row.trials[best]), "horizon": cell.row.horizon,
        "trials": [{"setting": setting(t), **f} for t, f in zip(cell.row.trials, trials, strict=False)],
        "report": found, "seconds": sum(f["seconds"] for f in [*trials, found]),
    }  # fmt: skip
    write_json(home / RESULT, result)
    return json.loads((home / RESULT).read_text())


def _samples(
    networks: Networks, cell: Cell, home: Path, trial: int, config: dict[str, Any], *, seed: int, n: int
) -> dict[str, Any]:
    problem = networks.problem(cell.problem, seed, n)
    method = cell.row.trials[trial]
    kept = {k: v for k, v in config.items() if k not in ("trials", "reported", "tried", "chunk")}
    own = {**kept, "setting": setting(method), "seed": seed}
    # Named by its strength, so that other trials of a row keep what they share.
    kind = "trial" if seed == TRIAL else "report"
    home = home / re.sub(r"[^\w.]+", "-", f"{kind} {setting(method)}").strip("-")
    name = f"{cell.problem} {cell.budget} {cell.name}, {home.name}"
    task = row_task(problem, cell.row)
    run = Run(
        task, method, n, seed, min(cell.chunk, n), conditional=cell.row.conditional, name=name, own=own
    )  # fmt: skip
    return {**score(networks, problem, run.samples(home)), "seconds": seconds_of(home)}


def setting(method: Any) -> str:
    """The numbers that tuning varies, as short text."""
    named = [(name, getattr(method, name, None)) for name in NUMBERS]
    return ", ".join(f"{name} {value:.3g}" for name, value in named if value is not None) or "-"


def read_result(home: Path) -> dict[str, Any] | None:
    """A cell's stored result; None if there is none that can be read."""
    return read_json(home / RESULT)
