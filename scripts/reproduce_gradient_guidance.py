"""Reproduce gradient guidance as optimization (arXiv 2404.14743) and write docs/results/details/gradient_guidance.md.

    python scripts/reproduce_gradient_guidance.py --only exact      # closed-form models, minutes
    python scripts/reproduce_gradient_guidance.py --only network    # a small score network trained here
    python scripts/reproduce_gradient_guidance.py --only image      # Fashion-MNIST with the shipped model
    python scripts/reproduce_gradient_guidance.py --only runtime    # a minute, on a machine that does nothing else
    python scripts/reproduce_gradient_guidance.py                   # all of them; stopped, the same command resumes

The page is rewritten with every row, and names those that are missing.
"""

import tyro
from gradient_guidance.page import write_page
from gradient_guidance.settings import Options
from gradient_guidance.study import study_of
from studied import run

if __name__ == "__main__":
    options = tyro.cli(Options)
    run(study_of(options), options, lambda name, report: None, write_page)
