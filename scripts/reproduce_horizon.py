"""How far should guidance look? Mixtures and images, written to docs/results/details/horizon.md.

    python scripts/reproduce_horizon.py                          # all; stopped, the same command resumes
    python scripts/reproduce_horizon.py --part mixtures
    python scripts/reproduce_horizon.py --part images --only box random label   # beside a process with the rest
    python scripts/reproduce_horizon.py --dry-run                # rows and network evaluations

The same study as `tfg-jax study horizon`, with the page in the documentation. What
docs/results/details/horizon_findings.md says is put into the page.
"""

import sys

from tfg_jax.cli.main import main

if __name__ == "__main__":
    page = "docs/results/details/horizon.md"
    sys.exit(main(["study", "horizon", "--out", "runs/horizon", "--page", page, "--yes", *sys.argv[1:]]))
