"""The methods of the horizon study on images, each at one budget of network evaluations a sample.

An evaluation is a network forward (recomputed ones too) or a network pullback, as ``cost`` of a run counts them. The
lookahead multiplies what a step costs, so at one budget a longer horizon has fewer steps; solver steps grow with the
budget. End-to-end methods spend it on Adam's iterations, whose number of evaluations is known before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optax

from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.run import upper_end_to_end_cost
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.guidance.tfg import TFG
from tfg_jax.result import Cost
from tfg_jax.sample import upper_cost
from tfg_jax.samplers.rules import DDIM
from tfg_jax.truncated import TruncatedSolve

UNGUIDED_STEPS, FINE = 50, 160
COSTLY_LABEL_ROWS = ("DPS", "horizon 0.5", "horizon 1", "DFlow")
SPREAD = (0.4, 1.0, 2.5, 6.25)
RATES = (0.03, 0.1, 0.3, 1.0)
# One optimiser for all: a fresh one would compile anew.
ADAM: Any = optax.adam(1.0)


@dataclass(frozen=True)
class Row:
    """One method at one budget.

    Attributes:
        what: the method in words, with its steps.
        trials: the method at each strength that is tried; a method without a strength has one.
        sampler: its sampler; None optimises end to end.
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


def image_rows(budget: int, *, label: bool = False, first: bool = True) -> Mapping[str, Row]:
    """The rows of one column.

    Args:
        budget: network evaluations a sample may cost.
        label: label guidance, which PiGDM cannot do and a conditional model can; otherwise restorations.
        first: the smallest budget: with the rows that no budget changes, and with all rows of labels, which need more
            samples than restorations do.

    Raises:
        ValueError: a budget that is too small for some row.
    """
    few, some = (1, 2) if budget < FINE else (2, 4)
    looks = {
        "two-step Euler": (TruncatedSolve(0.5, 1, "euler"), 0.5),
        "midpoint, no tail": (TruncatedSolve.whole(1, "midpoint"), None),
        "horizon 0.5": (TruncatedSolve(0.5, few, "midpoint"), 0.5),
        "horizon 0.9": (TruncatedSolve(0.9, some, "midpoint"), 0.9),
        "horizon 1": (TruncatedSolve(1.0, some, "midpoint"), 1.0),
    }
    rows: dict[str, Row] = {}
    if first:
        rows["unguided"] = Row(f"{UNGUIDED_STEPS} steps", (None,), DDIM(UNGUIDED_STEPS))
    if first and label:
        rows["conditional"] = Row(f"{UNGUIDED_STEPS} steps", (None,), DDIM(UNGUIDED_STEPS), conditional=True)
    rows["DPS"] = _sampled(budget, dps(label), None, 0.0)
    if not label:
        rows["PiGDM"] = _sampled(budget, lambda s: PiGDM(1.25 * s), None, None)
    rows["TFG"] = _sampled(budget, tfg(label), None, None)
    for name, (look, horizon) in looks.items():
        rows[name] = _sampled(budget, dps(label), look, horizon)
    rows["DFlow"] = _source(budget, 4 if budget < FINE else 8)
    rows["Controls"] = _controls(budget, 5 if budget < FINE else 9)
    return rows if first or not label else {name: rows[name] for name in COSTLY_LABEL_ROWS}


def dps(label: bool) -> Any:
    """DPS as published for restorations, as the TFG benchmark has it for labels; a scale to the guidance."""
    return (lambda s: DPS(0.5 * s)) if label else (lambda s: DPS(4.0 * s, normalise="residual"))


def tfg(label: bool) -> Any:
    """TFG at the ratios of its tuned settings; a scale to the guidance."""
    if label:
        return lambda s: TFG(rho=s, mu=0.05 * s, smoothing=1.0)
    return lambda s: TFG(rho=4.0 * s, mu=0.25 * s, n_iter=4)


def _sampled(budget: int, guidance: Any, look: TruncatedSolve | None, horizon: float | None) -> Row:
    each = upper_cost(guidance(1.0), look, DDIM(1))
    steps = _fitting(budget, int(each.forwards + each.pullbacks), "one step")
    # Tuned settings are for 50 steps; fewer steps want more of a push each, not as much more as there are fewer.
    scale = (50.0 / steps) ** 0.5
    words = f"{steps} steps"
    if look is not None:
        words += f" of {look.steps} {look.solver}"
    return Row(words, tuple(guidance(round(scale * s, 4)) for s in SPREAD), DDIM(steps), look, horizon)


def _source(budget: int, steps: int) -> Row:
    method = DFlow(TruncatedSolve(1.0, steps, "euler"), 1, optimizer=ADAM, rate=1.0)
    return _descended(budget, method, f"{steps + 1} evaluations")


def _controls(budget: int, steps: int) -> Row:
    return _descended(budget, Controls(steps, iterations=1, optimizer=ADAM, remat="none", rate=1.0), f"{steps} steps")


def _descended(budget: int, method: Any, words: str) -> Row:
    closure, final = (int(cost.forwards + cost.pullbacks) for cost in (method.closure, method.final))
    iterations = _fitting(budget - final - closure, closure, "one iteration")
    trials = tuple(method.replace(iterations=iterations, rate=rate) for rate in RATES)
    return Row(f"{iterations} iterations of {words}", trials)


def _fitting(budget: int, each: int, what: str) -> int:
    if budget < each:
        raise ValueError(f"budgets holds one that is too small for {what} of every row; give at least 50 evaluations")
    return budget // each
