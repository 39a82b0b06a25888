"""Options of `tfg-jax optimize`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfg_jax.tasks.find import DEFAULT


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """What is raised and how, and where to."""

    reward: Literal["class", "brightness"] = "class"
    """What is raised: the guide's log-odds of a class, or the mean pixel value."""
    request: str | None = None
    """reward class: the class, by number or name; default one that the data set names."""
    method: Literal["look-ahead", "naive"] = "look-ahead"
    """Gradient through the network, or at the denoised estimate alone."""
    task: str = DEFAULT
    """The data set, whose model, guide and classes are the defaults."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/optimize")
    """Folder of the results."""


@dataclasses.dataclass(frozen=True)
class RoundOptions:
    """The rounds, and what they are made by."""

    rounds: int = 10
    """Guided rounds, after one without guidance."""
    batch: int = 16
    """Images a round."""
    delta: float | None = None
    """Rise of reward asked for each round, > 0; default 0.1 of brightness, none of log-odds."""
    goal: float | None = None
    """Reward asked for in every round, in place of --delta; default 10 log-odds, none of brightness."""
    noise_std: float | None = None
    """Standard deviation of the reward's noise, > 0: smaller guides more; default 1 log-odds, or 0.003."""
    beta: Literal["paper", "exact", "constant"] = "paper"
    """How strength depends on the noise level."""
    beta_coef: float = 1.0
    """Multiplies the strength; with --beta constant it is the strength."""
    linearize: Literal["sample", "mean"] = "sample"
    """Take the reward's gradient at each image, or at the batch's mean."""
    learning_rate: float | None = None
    """Fine-tune the model on each round's images with this step size of Adam; default: do not."""
    same_start: bool = True
    """Start every round from the same noise: with --eta 0 a round continues the images of the one before."""
    steps: int = 50
    """DDIM steps."""
    eta: float = 0.0
    """DDIM stochasticity in [0, 1]."""
    guide: str = ""
    """Classifier whose log-odds are the reward: released name or folder."""
