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

import tyro
from label_guidance.page import row_line, write_page
from label_guidance.study import Options, study_of
from studied import run

if __name__ == "__main__":
    options = tyro.cli(Options)
    run(study_of(options), options, row_line, write_page)
