"""The probability-flow ODE by diffrax, on the same fixed grid and in the same coordinates as `tfg_jax.ode`.

    dy / du = span v(y, s + u span),      u from 0 to 1 in equal steps

so that a horizon of 0 is a field of 0 rather than a step of length 0. For reference solutions, high order and bounded
memory; `tfg_jax.ode` is the faster one at the few steps of a guidance gradient. diffrax is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from tfg_jax.denoiser import Clean
from tfg_jax.ode import points_at, slope_of
from tfg_jax.result import Cost

FIX = "use RecursiveCheckpointAdjoint, DirectAdjoint or BacksolveAdjoint"


def check(solver: Any, adjoint: Any, steps: int, *, forward_mode: bool = False) -> None:
    """Raise ValueError for solvers and adjoints that cannot give a lookahead its gradient.

    Args:
        solver: a diffrax solver instance.
        adjoint: a diffrax adjoint instance; None is RecursiveCheckpointAdjoint.
        steps: number of steps.
        forward_mode: whether the caller differentiates forward, which `diagnose_horizon` alone does.
    """
    import diffrax

    name = type(solver).__name__
    if isinstance(solver, type) or not isinstance(solver, diffrax.AbstractSolver):
        raise ValueError(
            f"solver={solver!r} is unknown; give 'euler', 'midpoint', 'heun', 'ralston' or a diffrax solver instance"
        )
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        raise ValueError(f"solver={name} is implicit: its number of network calls is not known; use an explicit one")
    if not isinstance(solver, diffrax.Euler | diffrax.AbstractERK):
        raise ValueError(f"solver={name} does not step dy/ds = v(y, s) alone; use Euler or an explicit Runge-Kutta")
    if adjoint is None:
        return
    kind = type(adjoint).__name__
    if isinstance(adjoint, type) or not isinstance(adjoint, diffrax.AbstractAdjoint):
        raise ValueError(f"adjoint={adjoint!r} is not a diffrax adjoint instance; {FIX}")
    if isinstance(adjoint, diffrax.ImplicitAdjoint):
        raise ValueError(
            f"adjoint={kind} differentiates a steady state and drops the gradient in the start of the solve; {FIX}"
        )
    if isinstance(adjoint, diffrax.ForwardMode):
        if not forward_mode:
            raise ValueError(f"adjoint={kind} has no pullback, which guidance needs (diagnose_horizon takes it); {FIX}")
        return
    if not isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint | diffrax.DirectAdjoint | diffrax.BacksolveAdjoint):
        raise ValueError(f"adjoint={kind} is not supported; {FIX}")
    checkpoints = getattr(adjoint, "checkpoints", None)
    if checkpoints is not None and (checkpoints + 1) * (checkpoints + 2) < 2 * steps:
        raise ValueError(
            f"adjoint.checkpoints={checkpoints} would repeat steps more than twice; give more for steps={steps}"
        )


def calls(solver: Any, steps: int) -> tuple[int, int]:
    """Network calls of one step and those before the first step."""
    import diffrax

    if isinstance(solver, diffrax.Euler):
        return 1, 0
    tableau = solver.tableau
    return (tableau.num_stages - 1, 1) if tableau.fsal else (tableau.num_stages, 0)


def cost(solver: Any, adjoint: Any, steps: int) -> tuple[Cost, int]:
    """Calls of one solve and its pullback, and the forwards that the pullback repeats.

    With c checkpoints fewer than n steps, n - c steps are run a third time; for solvers that reuse their last stage
    this is an upper bound by one call.
    """
    import diffrax

    each, before = calls(solver, steps)
    total = each * steps + before
    match adjoint:
        case diffrax.DirectAdjoint():  # nested scans of 16 steps, all but the innermost repeated
            again, size = 0, 16
            while size < steps:
                again, size = again + 1, size * 16
            repeated = again * total
        case diffrax.BacksolveAdjoint():
            repeated = total
        case _:
            fewer = min(getattr(adjoint, "checkpoints", None) or steps, steps)
            repeated = total + (steps - fewer) * each + (before if fewer < steps else 0)
    return Cost(forwards=total, pullbacks=total), repeated


def solve(
    denoise: Callable[[Array, Array], Clean], schedule: Any, level: Any, y: Array, span: Array, gap: Array,
    floor: Array, steps: int, solver: Any, adjoint: Any,
) -> Array:  # fmt: skip
    """The barred state after ``steps`` equal steps over ``span`` in s from ``level``; arguments as in `tfg_jax.ode`.

    A RecursiveCheckpointAdjoint that does not say otherwise keeps every state: they are small beside what a network
    keeps of one call, and each step is then repeated once only.
    """
    import diffrax
    import equinox as eqx

    def field(u: Array, y: Array, args: Any) -> Array:
        denoise, schedule, t, s, gap, span, floor = args
        point = points_at(schedule, t, s, gap, u * span, floor)
        return span * slope_of(denoise(point.scale * y, point.t)).astype(y.dtype)

    s = (level.alpha / (level.alpha + level.sigma)).astype(y.dtype)
    if adjoint is None or (isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint) and adjoint.checkpoints is None):
        adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=steps)
    if isinstance(solver, diffrax.AbstractERK) and solver.scan_kind is None:
        # The default loop over the stages is checkpointed as well, and would call the network a third time.
        solver = eqx.tree_at(lambda s: s.scan_kind, solver, "bounded", is_leaf=lambda leaf: leaf is None)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
        solver, t0=jnp.zeros((), y.dtype), t1=jnp.ones((), y.dtype), dt0=jnp.asarray(1.0 / steps, y.dtype), y0=y,
        args=(denoise, schedule, level.t, s, gap, span, floor),
        adjoint=adjoint, stepsize_controller=diffrax.ConstantStepSize(), max_steps=steps, throw=False,
    )  # fmt: skip
    return solution.ys[0]  # type: ignore[index]
