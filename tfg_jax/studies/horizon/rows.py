"""The methods of the horizon study on images, each at one budget of network evaluations a sample.

An evaluation is a network forward (recomputed ones too) or a network pullback, as ``cost`` of a run counts them. The
lookahead multiplies what a step costs, so at one budget a longer horizon has fewer steps; solver steps grow with the
budget. End-to-end methods spend it on Adam's iterations, whose number of evaluations is known before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.run import upper_end_to_end_cost
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.guidance.tfg import TFG
from tfg_jax.result import Cost
from tfg_jax.sample import upper_cost
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.truncated import TruncatedSolve

LABEL = "label"
UNGUIDED_STEPS, FINE = 50, 160
COSTLY_LABEL_ROWS = ("DPS", "horizon 0.5", "horizon 1", "DFlow")
# Shares of the tuned settings, moved after a first round of trials whose best ones lay at an end.
RESTORING, CLASSIFYING, PSEUDOINVERSE = (0.1, 0.3, 1.0, 3.0), (0.3, 0.8, 2.0, 5.0), (0.35, 0.7, 1.4, 2.8)
RATES = (0.03, 0.1, 0.3, 1.0)
# A row of averages over k x k pixels has length 1 / k, and so has the normalized gradient of its residual.
REACH = MappingProxyType({"sr2": 2.0, "sr2-bicubic": 2.0, "sr4": 4.0, "sr4-bicubic": 4.0})


@dataclass(frozen=True)
class ImageRow:
    """One method at one budget.

    Attributes:
        what: the method in words, with its steps.
        trials: the method at each strength that is tried; a method without a strength has one.
        sampler: its sampler; None optimizes end to end.
        lookahead: what its gradient looks through; None is Tweedie.
        horizon: where it stands on the axis of horizons; None if nowhere.
        conditional: gives the class to the network.
    """

    what: str
    trials: tuple[Any, ...]
    sampler: DDIM | None = None
    lookahead: TruncatedSolve | None = None
    horizon: float | None = None
    conditional: bool = False

    @property
    def cost(self) -> Cost:
        """Calls of one sample, exactly: nothing here stops early."""
        if self.sampler is None:
            return upper_end_to_end_cost(self.trials[0])
        return upper_cost(self.trials[0], self.lookahead, self.sampler)

    @property
    def evaluations(self) -> int:
        """Network evaluations of one sample."""
        return int(self.cost.forwards + self.cost.pullbacks)


def image_rows(budget: int, problem: str, *, first: bool = True) -> Mapping[str, ImageRow]:
    """The rows of one column.

    Args:
        budget: network evaluations a sample may cost.
        problem: "label" for label guidance, which PiGDM cannot do and a conditional model can; or a restoration.
        first: the smallest budget: with the rows that no budget changes, and with all rows of labels, which need more
            samples than restorations do.

    Raises:
        ValueError: a budget that is too small for some row.
    """
    label = problem == LABEL
    dps, tfg = (_label_dps, _label_tfg) if label else (_dps(problem), _tfg(problem))
    spread = CLASSIFYING if label else RESTORING
    few, some = (1, 2) if budget < FINE else (2, 4)
    lookaheads = {
        "two-step Euler": (TruncatedSolve(0.5, 1, "euler"), 0.5),
        "midpoint, no tail": (TruncatedSolve.whole(1, "midpoint"), None),
        "horizon 0.5": (TruncatedSolve(0.5, few, "midpoint"), 0.5),
        "horizon 0.9": (TruncatedSolve(0.9, some, "midpoint"), 0.9),
        "horizon 1": (TruncatedSolve(1.0, some, "midpoint"), 1.0),
    }
    rows: dict[str, ImageRow] = {}
    if first:
        rows["unguided"] = ImageRow(f"{UNGUIDED_STEPS} steps", (None,), DDIM(UNGUIDED_STEPS))
    if first and label:
        rows["conditional"] = ImageRow(f"{UNGUIDED_STEPS} steps", (None,), DDIM(UNGUIDED_STEPS), conditional=True)
    rows["DPS"] = _sampled(budget, dps, spread, None, 0.0)
    if not label:
        rows["PiGDM"] = _sampled(budget, PiGDM, PSEUDOINVERSE)
    rows["TFG"] = _sampled(budget, tfg, spread)
    for name, (lookahead, horizon) in lookaheads.items():
        rows[name] = _sampled(budget, dps, spread, lookahead, horizon)
    rows["DFlow"] = _source(budget, 4 if budget < FINE else 8)
    rows["Controls"] = _controls(budget, 5 if budget < FINE else 9)
    return rows if first or not label else {name: rows[name] for name in COSTLY_LABEL_ROWS}


def _dps(problem: str) -> Callable[[float], DPS]:
    """DPS as published for restorations, at a scale of its tuned strength."""
    return lambda s: DPS(4.0 * REACH.get(problem, 1.0) * s, normalize="residual")


def _tfg(problem: str) -> Callable[[float], TFG]:
    reach = REACH.get(problem, 1.0)
    return lambda s: TFG(rho=4.0 * reach * s, mu=0.25 * reach * s, n_iter=4)


def _label_dps(s: float) -> DPS:
    """DPS as the TFG benchmark has it for labels, at a scale of its tuned strength."""
    return DPS(0.5 * s)


def _label_tfg(s: float) -> TFG:
    return TFG(rho=s, mu=0.05 * s, smoothing=1.0)


def _sampled(
    budget: int, guidance: Callable[[float], Any], spread: tuple[float, ...], lookahead: TruncatedSolve | None = None,
    horizon: float | None = None,
) -> ImageRow:  # fmt: skip
    each = upper_cost(guidance(1.0), lookahead, DDIM(1))
    steps = _fitting(budget, int(each.forwards + each.pullbacks), "one step")
    # Tuned settings are for 50 steps; fewer steps want more of a push each, not as much more as there are fewer.
    scale = (50.0 / steps) ** 0.5
    words = f"{steps} steps"
    if lookahead is not None:
        words += f" of {lookahead.steps} {lookahead.solver}"
    return ImageRow(words, tuple(guidance(round(scale * s, 4)) for s in spread), DDIM(steps), lookahead, horizon)


def _source(budget: int, steps: int) -> ImageRow:
    method = DFlow(TruncatedSolve(1.0, steps, "euler"), 1, rate=1.0)
    return _descended(budget, method, f"{steps + 1} evaluations")


def _controls(budget: int, steps: int) -> ImageRow:
    return _descended(budget, Controls(steps, iterations=1, remat="none", rate=1.0), f"{steps} steps")


def _descended(budget: int, method: Any, words: str) -> ImageRow:
    closure, final = (int(cost.forwards + cost.pullbacks) for cost in (method.closure, method.final))
    iterations = _fitting(budget - final - closure, closure, "one iteration")
    trials = tuple(method.replace(iterations=iterations, rate=rate) for rate in RATES)
    return ImageRow(f"{iterations} iterations of {words}", trials)


def _fitting(budget: int, each: int, what: str) -> int:
    if budget < each:
        raise ValueError(f"budgets holds one that is too small for {what} of every row; give at least 50 evaluations")
    return budget // each
