"""Classifier-free guidance: the trade-off on Fashion-MNIST, its rivals, and Gaussians in closed form.

    python scripts/reproduce_cfg.py --dry-run            # rows, network evaluations and minutes
    python scripts/reproduce_cfg.py --only toy           # the Gaussians alone: two minutes
    python scripts/reproduce_cfg.py                      # all; stopped, the same command goes on
    python scripts/reproduce_cfg.py --samples 20 --p-samples 20 --steps 4 --train-steps 2 --toy-samples 50 \
        --folder runs/quick --page runs/quick.md         # to see that it runs

Processes may work side by side on the same folder: each takes the next row that no other has. The page
docs/results/details/classifier_free.md is rewritten with every row and names those that are missing.
"""

import sys
from typing import Any

import tyro
from cfg.common import Options
from cfg.page import line_of, write_page
from cfg.study import study_of

from tfg_jax import report
from tfg_jax.host import keep_freed_memory
from tfg_jax.locks import lock
from tfg_jax.signals import RESUMABLE, Interrupted


def main(options: Options) -> None:
    """Compute what is missing, row by row."""
    study = study_of(options)
    if options.dry_run:
        plan = study.plan(options.only)
        print(f"{report.text_table(plan)}\n{sum(row['minutes'] for row in plan) / 60:.1f} core hours; classifiers and "
              "metrics come on top. Nothing was run.")  # fmt: skip
        return
    for row, result in () if options.page_only else study.compute(options.only):
        print(
            f"{row.name}: left to another process" if result is None else said(row.name, result["report"]), flush=True
        )
        with lock(options.folder, wait=True):  # of processes side by side, one draws the pictures at a time
            write_page(options, study.known())
    with lock(options.folder, wait=True):
        write_page(options, study.known())


def said(name: str, numbers: Any) -> str:
    """A line about a row."""
    if numbers is None:
        return f"{name}: left to another process"
    return report.text_table([line_of(name, numbers)]) if "inception_score" in numbers else f"{name}: done"


if __name__ == "__main__":
    keep_freed_memory()
    try:
        main(tyro.cli(Options))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(RESUMABLE)
