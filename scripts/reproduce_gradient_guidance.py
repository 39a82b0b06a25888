"""Reproduce gradient guidance as optimization (arXiv 2404.14743) and write docs/results/details/gradient_guidance.md.

    python scripts/reproduce_gradient_guidance.py --part exact      # closed-form models, minutes
    python scripts/reproduce_gradient_guidance.py --part network    # a small score network trained here
    python scripts/reproduce_gradient_guidance.py --part image      # Fashion-MNIST with the shipped model
    python scripts/reproduce_gradient_guidance.py --part runtime    # a minute, on a machine that does nothing else
    python scripts/reproduce_gradient_guidance.py                   # all of them; stopped, the same command resumes

Each part writes its own section; the page holds those that have been run.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Literal

import tyro
from gradient_guidance.common import ResultFolder, write_page

from tfg_jax.host import keep_freed_memory

PARTS = ("exact", "network", "image", "runtime")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run and where it goes."""

    part: Literal["exact", "network", "image", "runtime", "all"] = "all"
    seed: int = 2345  # the published one
    share: float = 1.0  # of the rounds of each long run, in (0, 1]; the page says how many were run
    known: bool = False  # of part exact, write what is on disk and compute nothing
    tiny: bool = False  # a few rounds of everything, to see that it runs; give another folder and page
    folder: Path = Path("runs/gradient_guidance")
    page: Path = Path("docs/results/details/gradient_guidance.md")


def main(run: Run) -> None:
    """Run the parts asked for, one after another, and write the page after each."""
    for part in PARTS if run.part == "all" else (run.part,):
        module = importlib.import_module(f"gradient_guidance.{part}")
        sizes = module.TINY if run.tiny else module.Sizes()
        sizes = dataclasses.replace(sizes, rounds=max(round(run.share * sizes.rounds), 1))
        module.run(ResultFolder(run.folder, run.page, part, run.known), sizes, run.seed)
        write_page(run.folder, run.page, PARTS)
    print(f"page  {run.page}")


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
