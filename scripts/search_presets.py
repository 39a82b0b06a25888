"""Whether a search finds anything better than the tuned methods that the tasks come with.

    python scripts/search_presets.py --page docs/results/details/presets.md   # all that is missing, in turn
    python scripts/search_presets.py --only qm9 dps                           # of these tasks and methods

Every search is a command that stands beside its preset (``SEARCHES``), starts where the preset is, and goes on where it
was stopped. The page compares the preset and the best on the seeds, images and networks that did not choose.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from tfg_jax.report import markdown_table
from tfg_jax.runs.page import write_details
from tfg_jax.search import Aim, Trial
from tfg_jax.tasks.fashion_mnist.presets import INVERSE_PRESETS, LABEL_PRESETS
from tfg_jax.tasks.fashion_mnist.presets import SEARCHES as OF_IMAGES
from tfg_jax.tasks.qm9.presets import MOLECULE_PRESETS, SEARCH

COMMANDS = {
    "labels": {name: OF_IMAGES["labels"].format(name=name) for name in LABEL_PRESETS},
    "restorations": {name: OF_IMAGES["restorations"].format(name=name) for name in INVERSE_PRESETS},
    "qm9": {name: SEARCH.format(name=name) for name in MOLECULE_PRESETS},
}


@dataclass(frozen=True)
class Options:
    """Which searches."""

    only: tuple[str, ...] = ()  # tasks and methods, of each all if none is named
    folder: Path = Path("runs/presets")
    page: Path | None = None
    page_only: bool = False  # write the page from what is there


def rows_of(task: str, name: str, folder: Path) -> list[dict[str, Any]]:
    """A line of the table, none for a search that is not finished."""
    if not (folder / "best.json").exists():
        return []
    config = json.loads((folder / "search.json").read_text())
    aim = Aim(tuple((metric, better) for metric, better in config["aim"]))
    trials = [Trial.from_dict(json.loads(line)) for line in (folder / "trials.jsonl").read_text().splitlines()]
    best = json.loads((folder / "best.json").read_text())["found"]["candidate"]
    reported = {trial.candidate: trial for trial in trials if trial.round < 0}
    start = reported[trials[0].candidate]
    found = next(trial for trial in reported.values() if trial.to_dict()["candidate"] == best)
    better = [(a[1] > b[2], b[1] > a[2]) for a, b in zip(aim.interval(found), aim.interval(start), strict=True)]
    verdict = "better" if any(up for up, _ in better) and not any(down for _, down in better) else "none better"
    same = found.candidate == start.candidate
    row: dict[str, Any] = {"task": task, "preset": name, "strengths": str(start.candidate),
                           "best": "the preset" if same else str(found.candidate)}  # fmt: skip
    for metric in aim.names:
        row[metric.replace("_", " ")] = f"{start.estimate(metric)}" + ("" if same else f" -> {found.estimate(metric)}")
    return [row | {"candidates": len({trial.candidate for trial in trials}), "beyond its interval": verdict}]


def commands_of(only: Sequence[str]) -> list[tuple[str, str, str]]:
    """Task, method and command of the searches that words choose: all tasks if they name none, and all methods.

    Raises:
        ValueError: a word that is neither.
    """
    tasks, names = set(COMMANDS), {name for commands in COMMANDS.values() for name in commands}
    if unknown := sorted(set(only) - tasks - names):
        raise ValueError(
            f"only={' '.join(unknown)!r} is no task or method; choose of {', '.join(sorted(tasks | names))}"
        )
    tasks, names = (set(only) & words or words for words in (tasks, names))
    listed = [(task, name, command) for task, commands in COMMANDS.items() for name, command in commands.items()]
    return [(task, name, command) for task, name, command in listed if task in tasks and name in names]


def main(options: Options) -> None:
    """Search and write."""
    for task, name, command in () if options.page_only else commands_of(options.only):
        folder = options.folder / task / name
        if not (folder / "best.json").exists():
            sys.stderr.write(f"{command}\n")
            words = [*shlex.split(command)[1:], "--output", str(folder)]
            if code := subprocess.run([sys.executable, "-m", "tfg_jax.cli.main", *words]).returncode:
                sys.exit(code)
    if options.page is not None:
        parts = [f"# Presets\n\n{NOTE}\n"]
        for task, commands in COMMANDS.items():
            if rows := [row for name in commands for row in rows_of(task, name, options.folder / task / name)]:
                first = next(iter(commands.values()))
                parts.append(
                    f"## {task.capitalize()}\n\n`{first}`, and so on for every method.\n\n{markdown_table(rows)}\n"
                )
        write_details(options.page, "\n".join(parts))


NOTE = (
    "Generated by `python scripts/search_presets.py --page docs/results/details/presets.md`: searches that start where "
    "the presets are. What the preset scores -> what the best that was found scores, both on the seeds, images and "
    'networks that did not choose, with 95 % intervals; "better" is a best whose interval lies wholly beyond the '
    "preset's in one number and in none behind it. For methods that are missing here the command was not yet run."
)

if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
