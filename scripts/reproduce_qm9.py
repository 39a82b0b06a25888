"""Molecules of QM9 guided to a property: greedily, over a horizon or end to end, at equal steps and equal evaluations.

    python scripts/reproduce_qm9.py --dry-run                      # rows, network evaluations and minutes
    python scripts/reproduce_qm9.py --only evaluations alpha       # one table of one property
    python scripts/reproduce_qm9.py --only diagnosis               # gradients against the horizon, on images too
    python scripts/reproduce_qm9.py                                # all; stopped, the same command goes on
    python scripts/reproduce_qm9.py --samples 4 --step-samples 4 --whole-samples 4 --trial-samples 4 --model-samples 4 \
        --dear-trial-samples 4 --model-steps 3 --rare-samples 4 --quantum-samples 2 --states 4 --solve-steps 2 \
        --steps 3 --budget 16 --chunk 4 --properties alpha --folder runs/quick --page runs/quick.md  # does it run?

Novelty and the rare combinations need QM9 itself: the extra `molecules`, or --data with the file that
`tfg_jax.data.qm9.convert` wrote. The second opinion needs the program `xtb`; --quantum-samples 0 leaves it out.
Processes may work side by side on the same folder: each takes the next row that no other has. The page
docs/results/details/molecules.md is rewritten with every row and names those that are missing.
"""

import tyro
from qm9.measure import Options
from qm9.page import row_line, write_page
from qm9.study import study_of
from studied import run

if __name__ == "__main__":
    options = tyro.cli(Options)
    run(study_of(options), options, row_line, write_page)
