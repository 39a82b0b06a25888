"""The options of the study, and one number that its parts share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import studied

V = 0.3  # of the paper's 64x64 models


@dataclasses.dataclass(frozen=True)
class Options(studied.Options):
    """What is run and where it goes."""

    folder: Path = Path("runs/cfg")
    page: Path = Path("docs/results/details/classifier_free.md")
    samples: int = 1000  # a row
    steps: int = 64  # T; 4 T in part steps, T / 2 in part matched
    p_uncond: tuple[float, ...] = (0.1, 0.2, 0.5)
    p_samples: int = 500  # a row of part p_uncond
    train_steps: int = 1000  # updates of each model of part p_uncond
    toy_samples: int = 20_000
