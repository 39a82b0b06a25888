"""What a guidance method needs of a step: its cost, and what objective and model must offer."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from tfg_jax.result import Cost


class Needs(NamedTuple):
    """What one step and recurrence of a method needs. A count is a number, or the name of a field that holds it.

    Attributes:
        evaluations: denoised estimates for the gradient.
        pullbacks: how many of them are pulled back to x through the network.
        gradients: gradients of the objective.
        forwards: network forwards beyond those.
        objective: "clean" for an objective of clean samples, "noisy" of noisy ones; "residual" has a measurement
            residual, "gaussian" is the likelihood of a Gaussian measurement, "one sign" must not cross 0.
        eps: whether the step edits eps: it must be the noise of x0, and a level without signal tells no x0.
        signal: whether the step divides by alpha.
        acts: False where all terms of the method are left out.
    """

    evaluations: int | str = 1
    pullbacks: int | str = 0
    gradients: int | str = 0
    forwards: int | str = 0
    objective: Literal["clean", "noisy", "residual", "gaussian", "one sign"] = "clean"
    eps: bool = False
    signal: bool = False
    acts: bool = True

    def cost(self, method: Any, evaluation: Cost) -> Cost:
        """Calls of a step and recurrence of ``method``, given those of one estimate and of its pullback."""
        evaluations, pullbacks, gradients, forwards = (
            getattr(method, n) if isinstance(n, str) else n
            for n in (self.evaluations, self.pullbacks, self.gradients, self.forwards)
        )
        return Cost(
            forwards=evaluation.forwards * evaluations + forwards,
            pullbacks=evaluation.pullbacks * pullbacks,
            objective=gradients,
        )
