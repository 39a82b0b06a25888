"""The probability-flow ODE in straight-line coordinates: one vector field, and one `solve` with two implementations.

    s = alpha / (alpha + sigma),  xbar = x / (alpha + sigma):      d xbar / ds = v = x0(x, t) - eps(x, t)

from noise (s = 0) to data (s = 1), on every schedule. One Euler step to data is exactly Tweedie's estimate and one
between two levels is DDIM at eta = 0. Grids are fixed because an adaptive solver controls the error of the state
alone: at a fixed point of the flow it steps over everything the gradient depends on.

    field    ``field(y, point[, input])``: a velocity, or the `Denoised` whose `velocity` is meant. `ProbabilityFlow` is
             a network's; a pytree where a diffrax adjoint shall reach its weights.
    grid     a `Grid`: lengths of the steps, and the point at any share of a step, as the field reads points.
             `equal_steps` from one level, `steps_between` levels.
    method   "euler", "midpoint", "heun", "ralston" or any `Tableau`, run by one `jax.lax.scan` (`tfg_jax.ode.scan`),
             or an instance of a diffrax solver (`tfg_jax.ode.by_diffrax`).
    adjoint  how the gradient gets its memory: "none" or "step" for scans, an adjoint of diffrax for diffrax.

|                            | scan                                 | diffrax                                          |
|----------------------------|--------------------------------------|--------------------------------------------------|
| methods                    | every explicit Runge-Kutta tableau   | Euler and explicit Runge-Kutta of any order      |
| calls of n steps           | stages n                             | stages n, or (stages - 1) n + 1 where the method |
|                            |                                      | ends a step with the first stage of the next     |
| `first`, already evaluated | spares its call                      | calls again                                      |
| gradient keeps             | all, or a state a step ("step")      | a state a checkpoint, or none (Backsolve)        |
| calls again for a gradient | none, or all once                    | all once; Direct none up to 16 steps             |
| inputs that differ by step | yes                                  | yes, no stage is then reused; not by Backsolve   |
| derivatives                | reverse and forward                  | reverse; forward by ForwardMode or Direct        |
| `jax.shard_map`            | yes                                  | no                                               |

At few steps the scan is the faster one; diffrax is for reference solutions, high order and bounded memory.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from jaxtyping import Array, Float, PyTree

from tfg_jax.denoiser import Denoised
from tfg_jax.kinds import public
from tfg_jax.ode import by_diffrax, scan
from tfg_jax.ode.field import (
    Field,
    Grid,
    Point,
    ProbabilityFlow,
    equal_steps,
    steps_between,
)
from tfg_jax.ode.field import (
    margin_of as margin_of,
)
from tfg_jax.ode.field import (
    velocity as velocity,
)
from tfg_jax.ode.scan import HEUN, RK4, SOLVERS, Tableau
from tfg_jax.result import Cost

__all__ = [
    "HEUN", "RK4", "SOLVERS", "Grid", "Point", "ProbabilityFlow", "Tableau", "equal_steps", "solve", "steps_between",
]  # fmt: skip


@public
def solve(
    field: Field, y: Float[Array, "*shape"], grid: Grid, method: Any, adjoint: Any, *, first: Denoised | None = None,
    tail: bool = False, inputs: PyTree = None,
) -> tuple[Array, Any]:  # fmt: skip
    """From ``y`` along a grid; see the module's docstring.

    Args:
        field: the vector field.
        y: the barred state of one sample at the first node.
        grid: the steps.
        method: a name, a `Tableau` or a diffrax solver.
        adjoint: "none" or "step" for scans; for diffrax an adjoint, None is RecursiveCheckpointAdjoint.
        first: the field's output at the first node, if it is known.
        tail: whether the field is called at the last node.
        inputs: what the field is given of each step, leaves (n, ...).

    Returns:
        The barred state at the last node, and the field's output there if ``tail``, else None.

    Raises:
        ValueError: ``inputs`` with ``first`` or ``tail``: at a node between steps the field has two inputs.
    """
    if inputs is not None and (first is not None or tail):
        raise ValueError("inputs differ by step, so the field has no one output at a node; drop first and tail")
    y, output = _module(method).solve(field, y, grid, method, adjoint, first=first, tail=tail, inputs=inputs)
    return y, field(y, grid.end) if tail and output is None else output


def cost(
    method: Any, adjoint: Any, steps: int, *, first: bool = False, tail: bool = False, jumps: bool = False
) -> tuple[Cost, int]:
    """Network calls of one `solve` and its pullback, and the forwards that the pullback repeats.

    With ``first`` its call is counted, too, whoever made it; ``jumps`` is whether there are inputs.
    """
    return _module(method).cost(method, adjoint, steps, first=first, tail=tail, jumps=jumps)


def check(
    method: Any, adjoint: Any, remat: Any, steps: int, *, forward_mode: bool = False, jumps: bool = False
) -> None:
    """Raise ValueError for a solver that is unknown, and for options that it does not take.

    Args:
        method: as in `solve`.
        adjoint: a diffrax adjoint, of diffrax solvers; None is their default.
        remat: "none" or "step", of scans; None is their default.
        steps: number of steps.
        forward_mode: whether the caller differentiates forward, which `diagnose_horizon` alone does.
        jumps: whether there are inputs.
    """
    _module(method).check(method, adjoint, remat, steps, forward_mode=forward_mode, jumps=jumps)


def by_scan(method: Any) -> bool:
    """Whether a method is solved by our own scan, not by diffrax."""
    return isinstance(method, str | Tableau)


def _module(method: Any) -> ModuleType:
    return scan if by_scan(method) else by_diffrax
