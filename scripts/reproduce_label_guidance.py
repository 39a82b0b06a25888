"""Compare training-free guidance methods on Fashion-MNIST labels, and write docs/results/details/label_guidance.md.

    python scripts/reproduce_label_guidance.py                 # tune, sample, report; stopped, the same command resumes
    python scripts/reproduce_label_guidance.py --per-class 8 --folder runs/quick --page runs/quick.md   # a quick look
    python scripts/reproduce_label_guidance.py --dry-run       # rows, network evaluations and minutes
    python scripts/reproduce_label_guidance.py --only dps lgd  # these rows alone

Processes may work side by side on the same folder: each takes the next row that no other has.

Every method is tuned with the same number of trials on seed 1, then reported on seed 0. The trial kept has the largest

    score = evaluator accuracy - 0.25 log2(Frechet distance / that of conditional samples)

so that a doubled distance must buy 25 points of accuracy.
"""

import sys
from typing import Any

import tyro
from label_guidance.page import line_of, write_page
from label_guidance.study import Options, study_of

from tfg_jax import report
from tfg_jax.host import keep_freed_memory
from tfg_jax.locks import lock
from tfg_jax.signals import RESUMABLE, Interrupted


def main(options: Options) -> None:
    """Tune, sample, report."""
    study = study_of(options)
    if options.dry_run:
        plan = study.plan(options.only)
        print(f"{report.text_table(plan)}\n{sum(row['minutes'] for row in plan) / 60:.1f} core hours. Nothing was run.")
        return
    for row, result in study.compute(options.only):
        print(said(row.name, result and result["report"]), flush=True)
    if not options.only:
        with lock(options.folder, wait=True):
            write_page(options, study.known())


def said(name: str, result: Any) -> str:
    """A line about a row."""
    if result is None:
        return f"{name}: left to another process"
    known = "numbers" in result
    return report.text_table([line_of(name, result["setting"], result["numbers"])]) if known else f"{name}: done"


if __name__ == "__main__":
    keep_freed_memory()
    try:
        main(tyro.cli(Options))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(RESUMABLE)
