"""Classifier-free guidance: the trade-off on Fashion-MNIST, its rivals, and Gaussians in closed form.

    python scripts/reproduce_cfg.py --dry-run            # rows, network evaluations and minutes
    python scripts/reproduce_cfg.py --only toy           # the Gaussians alone: two minutes
    python scripts/reproduce_cfg.py                      # all; stopped, the same command goes on
    python scripts/reproduce_cfg.py --samples 20 --p-samples 20 --steps 4 --train-steps 2 --toy-samples 50 \
        --folder runs/quick --page runs/quick.md         # to see that it runs

Processes may work side by side on the same folder: each takes the next row that no other has. The page
docs/results/details/classifier_free.md is rewritten with every row and names those that are missing.
"""

import tyro
from cfg.common import Options
from cfg.page import row_line, write_page
from cfg.study import study_of
from studied import run

if __name__ == "__main__":
    options = tyro.cli(Options)
    run(study_of(options), options, row_line, write_page)
