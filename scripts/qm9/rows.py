"""The methods of the study, with the settings that tuning chooses from.

An evaluation is a network forward (recomputed ones too) or a network pullback. At equal steps every sampled row takes
the same number of steps, as published; at equal evaluations one with a dearer step takes fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfg_jax import (
    DDIM,
    DPS,
    LGD,
    MPGD,
    TFG,
    UGD,
    Controls,
    DFlow,
    FreeDoM,
    PiGDM,
    TruncatedSolve,
    upper_cost,
    upper_end_to_end_cost,
)  # fmt: skip

SPREAD = (0.2, 0.5, 1.2, 3.0)
"""Shares of a method's middle strength that are tried, the same number for every method."""
RATES = (0.03, 0.1, 0.3, 1.0)
LOOKAHEADS: Mapping[str, TruncatedSolve] = {
    "two-step Euler": TruncatedSolve(0.5, 1, "euler"),
    "midpoint": TruncatedSolve.whole(1, "midpoint"),
    "horizon 0.25": TruncatedSolve(0.25, 1, "midpoint"),
    "horizon 0.5": TruncatedSolve(0.5, 1, "midpoint"),
    "horizon 0.75": TruncatedSolve(0.75, 2, "midpoint"),
    "horizon 0.9": TruncatedSolve(0.9, 2, "midpoint"),
    "horizon 1": TruncatedSolve(1.0, 2, "midpoint"),
}
GREEDY: Mapping[str, Callable[[float], Any]] = {
    "greedy": lambda s: DPS(0.1 * s, normalize="residual"),
    "LGD": lambda s: LGD(0.5 * s, n_mc=2),
    "MPGD": lambda s: MPGD(0.1 * s),
    "FreeDoM": lambda s: FreeDoM(0.1 * s),
    "UGD": lambda s: UGD(0.2 * s, n_iter=2),
    "TFG": lambda s: TFG(rho=0.1 * s, mu=0.05 * s, smoothing=0.1, n_iter=2),
    "PiGDM": lambda s: PiGDM(s),
}
"""Every method at its middle strength times s; greedy is DPS with the paper's normalizer, the gradient through one
Euler step to the data."""


@dataclass(frozen=True)
class Setting:
    """One row: a method, its trials, its sampler and what its gradient looks through."""

    name: str
    words: str
    trials: tuple[Any, ...]
    sampler: DDIM | None = None  # None optimizes end to end
    lookahead: TruncatedSolve | None = None
    window: tuple[float, float] | None = None

    @property
    def evaluations(self) -> int:
        """Forwards and pullbacks of one sample."""
        if self.sampler is None:
            cost = upper_end_to_end_cost(self.trials[0])
        else:
            cost = upper_cost(self.trials[0], self.lookahead, self.sampler)
        return int(cost.forwards + cost.pullbacks)

    @property
    def config(self) -> dict[str, Any]:
        """All that decides it, as JSON."""
        parts = {"trials": list(self.trials), "sampler": self.sampler, "lookahead": self.lookahead}
        return {**{name: repr(value) for name, value in parts.items()}, "window": self.window}


def sampled(steps: Callable[[Any, Any], int]) -> dict[str, Setting]:
    """Every guided row that samples; ``steps`` says how many a method with a lookahead takes."""
    rows = {}
    greedy = GREEDY["greedy"]
    for name, method, lookahead in (
        *((name, method, None) for name, method in GREEDY.items()),
        *((name, greedy, lookahead) for name, lookahead in LOOKAHEADS.items()),
    ):
        count = steps(method(1.0), lookahead)
        words = f"{count} steps" + (f" of {lookahead.steps} {lookahead.solver}" if lookahead is not None else "")
        # A shift of each step: where there are fewer steps, each has to carry more.
        scale = (50.0 / count) ** 0.5
        trials = tuple(method(round(scale * s, 4)) for s in SPREAD)
        rows[name] = Setting(name, words, trials, DDIM(count), lookahead)
    return rows


def equal_steps(steps: int) -> dict[str, Setting]:
    """Every row at the same number of steps."""
    return sampled(lambda method, lookahead: steps)


def equal_evaluations(budget: int) -> dict[str, Setting]:
    """Every row at the same number of network evaluations, end-to-end methods too."""

    def steps(method: Any, lookahead: Any) -> int:
        one = upper_cost(method, lookahead, DDIM(1))
        return max(budget // int(one.forwards + one.pullbacks), 1)

    rows = sampled(steps)
    short = {
        "source": DFlow(TruncatedSolve(1.0, 4, "euler"), 1, rate=1.0),
        "controls": Controls(5, iterations=1, rate=1.0),
    }
    return rows | {f"{name}, Adam": adam(f"{name}, Adam", method, budget) for name, method in short.items()}


def adam(name: str, method: Any, budget: int) -> Setting:
    """An end-to-end method whose iterations of Adam spend a budget."""
    closure, final = (int(cost.forwards + cost.pullbacks) for cost in (method.closure, method.final))
    count = max((budget - final) // closure - 1, 1)
    trials = tuple(method.replace(iterations=count, rate=rate) for rate in RATES)
    return Setting(name, f"{count} iterations", trials)


def whole() -> dict[str, Setting]:
    """The whole solve differentiated, without a budget: 20 midpoint steps, as end-to-end methods are run elsewhere."""
    solve = TruncatedSolve.whole(10, "midpoint", remat="step")
    source, controls = DFlow(solve, 1, regularizer=0.1), Controls(20, iterations=1, solver="euler")
    rates = (0.1, 0.3)
    return {
        "source, L-BFGS": Setting(
            "source, L-BFGS", "5 iterations of at most 5", (source.replace(iterations=5, line_search=5),)
        ),
        "source, Adam": Setting(
            "source, Adam", "25 iterations", tuple(source.replace(iterations=25, rate=rate) for rate in rates)
        ),
        "controls, Adam": Setting(
            "controls, Adam", "25 iterations", tuple(controls.replace(iterations=25, rate=rate) for rate in rates)
        ),
    }  # fmt: skip


def windowed(steps: int, best: Any) -> dict[str, Setting]:
    """The best greedy method with guidance in parts of the way only, by log-SNR."""
    windows = {"all": None, "noisy half": (-20.0, 0.0), "middle": (-4.0, 4.0), "clean half": (0.0, 20.0)}
    return {
        f"window {name}": Setting(
            f"window {name}", f"{steps} steps", tuple(best(s) for s in SPREAD), DDIM(steps), None, window
        )
        for name, window in windows.items()
    }  # fmt: skip
