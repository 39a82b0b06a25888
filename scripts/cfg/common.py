"""The options of the study, and one number that its parts share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

V = 0.3  # of the paper's 64x64 models


@dataclasses.dataclass(frozen=True)
class Options:
    """What is run and where it goes."""

    samples: int = 1000  # a row
    steps: int = 64  # T; 4 T in part steps, T / 2 in part matched
    chunk: int = 20  # small arrays stay in the cache of a CPU core
    p_uncond: tuple[float, ...] = (0.1, 0.2, 0.5)
    p_samples: int = 500  # a row of part p_uncond
    train_steps: int = 1000  # updates of each model of part p_uncond
    toy_samples: int = 20_000
    only: tuple[str, ...] = ()  # parts ("real test images" too) or rows; () is all of them
    page_only: bool = False  # write the page again from what is known
    dry_run: bool = False  # print the plan: rows, network evaluations and minutes
    rate: float = 430.0  # network forwards a second that the plan reckons with
    folder: Path = Path("runs/cfg")
    page: Path = Path("docs/results/details/classifier_free.md")
