"""The options of the study, and the runs on simulated problems that it compares."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import studied

import tfg_jax as tfg
from tfg_jax import optimize

NOISE_STD = 0.1
DELTA = {"theta_1": 0.05, "theta_2": 0.2, "b_1": 1.0, "b_2": 1.0}
NAIVE_DELTA = 0.9
GUIDANCES = {"G": tfg.NaiveGradientGuidance(), "G_loss": tfg.GradientGuidance()}


@dataclasses.dataclass(frozen=True)
class Options(studied.Options):
    """What is run and where it goes; sizes as published, but for the training batch (32 there)."""

    folder: Path = Path("runs/gradient_guidance")
    page: Path = Path("docs/results/details/gradient_guidance.md")
    seed: int = 2345
    steps: int = 200
    batch: int = 32
    rounds: int = 1000  # of f1
    short: int = 50  # of f2
    recentred: int = 300
    one_round: int = 40_000  # samples
    sphere_rounds: int = 25
    sphere_batch: int = 256
    deltas: tuple[float, ...] = (0.02, 0.1, 0.2, 0.52)
    data: int = 65_536  # that the networks are trained on
    epochs: int = 20
    train_batch: int = 128
    rates: tuple[float, ...] = (3e-3, 1e-3)
    width: int = 128
    blocks: int = 3
    tune_rates: tuple[float, ...] = (1e-6, 1e-5, 1e-4)
    tune_rounds: int = 1200
    network_deltas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.35, 0.52)
    image_rounds: int = 16
    images: int = 32
    image_steps: int = 25
    strengths: tuple[float, ...] = (0.25, 1.0, 4.0)  # multiplies the formula's strength
    wanted: str = "bag"
    goal: float = 10.0
    image_noise_std: float = 1.0
    timed_rounds: int = 5  # of which the median is shown
    timed_images: int = 8
    timed_steps: int = 50


@dataclasses.dataclass(frozen=True)
class Climb:
    """Rounds that raise f1 along a theta or f2 at a b of the linear problem."""

    part: str
    name: str
    which: str
    rounds: int
    delta: float
    linearize: Any = "sample"
    guidance: str = "G_loss"
    adapt: Any = None

    @property
    def f(self) -> str:
        """The objective's name."""
        return "f1" if self.which.startswith("theta") else "f2"

    @property
    def title(self) -> str:
        """Guidance and objective."""
        return f"{self.guidance}, {self.f} {self.which}"


def exact_climbs(options: Options) -> list[Climb]:
    """Algorithm 1, Algorithm 2 idealised, and the naive guidance, with exact scores."""
    rounds = {"f1": options.rounds, "f2": options.short}
    objectives = [("f1", "theta_1"), ("f1", "theta_2"), ("f2", "b_1"), ("f2", "b_2")]
    return [
        *(
            Climb("exact", f"{f}-{which}-{linearize}", which, rounds[f], DELTA[which], linearize)
            for linearize in ("mean", "sample")
            for f, which in objectives
        ),
        *(
            Climb("exact", f"recentred-{theta}-{delta}", theta, options.recentred, delta, "mean",
                  adapt=optimize.Recentre())
            for theta, delta in (("theta_2", 0.2), ("theta_1", 0.05), ("theta_2", 0.05))
        ),
        Climb("exact", "naive-f1-theta_2", "theta_2", options.rounds, NAIVE_DELTA, guidance="G"),
    ]  # fmt: skip


def network_climbs(options: Options) -> list[Climb]:
    """Algorithm 1 with the trained network."""
    rounds = {"theta": options.rounds, "b": options.short}
    return [Climb("network", "G-theta_2", "theta_2", options.rounds, NAIVE_DELTA, guidance="G")] + [
        Climb("network", f"L-{which}", which, rounds[which.split("_")[0]], DELTA[which])
        for which in ("theta_2", "theta_1", "b_1", "b_2")
    ]


def tuned(options: Options, guidance: str, rate: float) -> Climb:
    """Algorithm 2 at a learning rate."""
    start, short, delta = (60, "L", DELTA["theta_2"]) if guidance == "G_loss" else (40, "G", NAIVE_DELTA)
    adapt = optimize.FineTune(learning_rate=rate, start=min(start, options.tune_rounds))
    return Climb(
        "network", f"tuned-{short}-{rate}", "theta_2", options.tune_rounds, delta, guidance=guidance, adapt=adapt
    )
