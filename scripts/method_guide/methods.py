"""The methods compared, each with one number that is its strength."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tfg_jax as tfg
from tfg_jax import special_cases

from .problems import Problem

FACTORS = tuple(2.0**k for k in range(-3, 4))
"""Every method has seven trials of its strength: these times its unit."""
DRAWS = 10
SOLVE = 10
ITERATIONS = 20


@dataclass(frozen=True)
class Row:
    """A method by its strength.

    Attributes:
        name: what it is called.
        of: ``(strength, problem) -> guidance``.
        code: how it is written, s the strength.
        unit: the strength in the middle of the trials; over ``steps`` if ``shared``.
        shared: whether the strength is divided by the number of steps: the shifts of all steps add up.
        applies: whether it can be used on a problem.
        lookahead: None is Tweedie.
        sampled: False for methods that optimize through the whole solve, which know no number of steps.
        gap, noisy: which of a problem's objectives it takes.
    """

    name: str
    of: Callable[[Any, Problem], Any]
    code: str
    unit: float = 1.0
    shared: bool = True
    applies: Callable[[Problem], bool] = lambda problem: True
    lookahead: Any = None
    sampled: bool = True
    gap: bool = False
    noisy: bool = False

    def strength(self, factor: Any, steps: int) -> Any:
        """The strength of a trial."""
        return self.unit * factor / (steps if self.shared else 1)


def _measured(problem: Problem) -> bool:
    return problem.gap is not None


def _dps(s: Any, problem: Problem) -> tfg.DPS:
    return tfg.DPS(s, normalize="residual" if _measured(problem) else "value")


def _dflow(s: Any, problem: Problem) -> tfg.DFlow:
    solve = tfg.TruncatedSolve(1.0, SOLVE, "euler")
    return tfg.DFlow(solve, ITERATIONS, regularizer=1.0, rate=s)


ROWS = (
    Row("exact score", lambda s, p: tfg.ClassifierGuidance(s), "ClassifierGuidance(s), exact", shared=False, noisy=True,
        applies=lambda p: p.noisy is not None),
    Row("TFG", lambda s, p: tfg.TFG(rho=s, mu=s / 4.0), "TFG(rho=s, mu=s / 4)"),
    Row("TFG, rho", lambda s, p: tfg.TFG(rho=s, mu=None), "TFG(rho=s, mu=None)"),
    Row("TFG, mu", lambda s, p: tfg.TFG(rho=None, mu=s / 4.0), "TFG(rho=None, mu=s / 4)"),
    Row("TFG as UGD", lambda s, p: special_cases.ugd(s, s / 4.0), "special_cases.ugd(s, s / 4)"),
    Row("TFG, rho, 4 recurrences", lambda s, p: tfg.TFG(rho=s, mu=None, n_recur=4), "TFG(rho=s, mu=None, n_recur=4)"),
    Row("DPS", _dps, 'DPS(s), normalize="residual" of measurements', applies=lambda p: p.one_sign),
    Row("LGD", lambda s, p: tfg.LGD(s, DRAWS), f"LGD(s, {DRAWS})", unit=DRAWS),
    Row("FreeDoM", lambda s, p: tfg.FreeDoM(s), "FreeDoM(s)"),
    Row("MPGD", lambda s, p: tfg.MPGD(s), "MPGD(s)"),
    Row("UGD", lambda s, p: tfg.UGD(s), "UGD(s)", unit=0.25, shared=False),
    Row("PiGDM", lambda s, p: tfg.PiGDM(s, p.data_std), "PiGDM(s, data_std)", unit=32.0, applies=_measured),
    Row("PiGDM, score", lambda s, p: tfg.PiGDM(s, p.data_std, "score"), 'PiGDM(s, data_std, "score")', shared=False,
        applies=_measured),
    Row("gradient guidance", lambda s, p: tfg.GradientGuidance(0.3, "exact", s),
        'GradientGuidance(noise_std, "exact", s)', shared=False, applies=_measured, gap=True),
    Row("naive gradient guidance", lambda s, p: tfg.NaiveGradientGuidance(0.3, "paper", s),
        "NaiveGradientGuidance(noise_std, beta_coef=s)", shared=False, applies=_measured, gap=True),
    Row("two Euler steps ahead", lambda s, p: tfg.FreeDoM(s), 'FreeDoM(s), TruncatedSolve(0.5, 1, "euler")',
        lookahead=tfg.TruncatedSolve(0.5, 1, "euler")),
    Row("whole solve ahead", lambda s, p: tfg.FreeDoM(s), 'FreeDoM(s), TruncatedSolve.whole(4, "euler")',
        lookahead=tfg.TruncatedSolve.whole(4, "euler")),
    Row("DFlow", _dflow, f"DFlow(TruncatedSolve(1.0, {SOLVE}, 'euler'), {ITERATIONS}, regularizer=1, rate=s)",
        unit=0.03, shared=False, sampled=False),
)  # fmt: skip
