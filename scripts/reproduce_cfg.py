"""Classifier-free guidance: the trade-off on Fashion-MNIST, its rivals, and Gaussians in closed form.

    python scripts/reproduce_cfg.py --dry-run            # rows, network calls and hours by part
    python scripts/reproduce_cfg.py --parts toy          # the Gaussians alone: two minutes
    python scripts/reproduce_cfg.py                      # all; stopped, the same command goes on
    python scripts/reproduce_cfg.py --samples 20 --p-samples 20 --steps 4 --train-steps 2 --toy-samples 50 \
        --folder runs/quick --page runs/quick.md         # to see that it runs

Processes may work side by side on the same folder: each takes the next row that no other has. Samples are kept in
folders and rows in rows.json; the page docs/results/details/classifier_free.md is rewritten with every row and
names those that are missing.
"""

import sys

import tyro
from cfg.common import Run, Store, held
from cfg.rows import plan, rows_of

from tfg_jax import report
from tfg_jax.host import keep_freed_memory
from tfg_jax.signals import RESUMABLE, Interrupted


def main(run: Run) -> None:
    """Compute what is missing, row by row."""
    if run.dry_run:
        print(plan(run))
        return
    from cfg.gaussians import toy
    from cfg.page import line_of, write_page
    from cfg.study import Study

    if "toy" in run.parts:
        with held(run.folder, "toy", wait=False) as ours:
            if ours:
                Store(run.folder / "distributions.json").put("distributions", "", toy(run))
    write_page(run)
    rows = [row for row in rows_of(run) if row.part in run.parts and run.only in row.name]
    study, elsewhere = Study(run) if rows else None, []
    for row in rows:
        assert study is not None
        with held(run.folder, row.claim(), wait=False) as ours:
            if not ours:
                elsewhere.append(row.name)
                continue
            found = study.compute(row)
        print(report.text_table([line_of(row.name, found)]), flush=True)
        write_page(run)
    if elsewhere:
        print(f"left to another process: {'; '.join(elsewhere)}")


if __name__ == "__main__":
    keep_freed_memory()
    try:
        main(tyro.cli(Run))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(RESUMABLE)
