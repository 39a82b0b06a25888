"""The probability-flow ODE by diffrax, on the same fixed grid and in the same coordinates as `tfg_jax.ode`.

    dy / du = span v(y, s + u span),      u from 0 to 1 in equal steps

so that a horizon of 0 is a field of 0 rather than a step of length 0. For reference solutions, high order and bounded
memory; `tfg_jax.ode` is the faster one at the few steps of a guidance gradient. diffrax is imported on first use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from tfg_jax.checks import check_choice
from tfg_jax.denoiser import Denoised
from tfg_jax.ode import REMATS, SOLVERS, by_scan, points_at, slope_of
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


def check_solver(solver: Any, adjoint: Any, remat: Any, steps: int, *, forward_mode: bool = False) -> None:
    """Raise ValueError for a solver, of ours or of diffrax, that is unknown, and for options that it does not take.

    Args:
        solver: a name or `tfg_jax.ode.Tableau`, solved by a scan, or a diffrax solver instance.
        adjoint: a diffrax adjoint, of diffrax solvers; None is their default.
        remat: memory policy, of scans; None is their default.
        steps: number of steps.
        forward_mode: as in `check`.
    """
    if not by_scan(solver):
        check(solver, adjoint, steps, forward_mode=forward_mode)
        if remat is not None:
            raise ValueError(f"remat={remat!r} has no effect on diffrax solvers; pass adjoint= or drop remat")
        return
    if isinstance(solver, str):
        check_choice("solver", solver, SOLVERS)
    if adjoint is not None:
        raise ValueError(
            f"adjoint={type(adjoint).__name__} has no effect on solver={solver!r}, which is a scan; "
            "pass remat=, or a diffrax solver such as diffrax.Midpoint()"
        )
    if remat is not None:
        check_choice("remat", remat, REMATS)


def calls(solver: Any, steps: int, *, jumps: bool = False) -> tuple[int, int]:
    """Network calls of one step and those before the first step; with ``jumps`` no step reuses a stage of the last."""
    import diffrax

    if isinstance(solver, diffrax.Euler):
        return 1, 0
    tableau = solver.tableau
    return (tableau.num_stages - 1, 1) if tableau.fsal and not jumps else (tableau.num_stages, 0)


def cost(solver: Any, adjoint: Any, steps: int, *, jumps: bool = False) -> tuple[Cost, int]:
    """Calls of one solve and its pullback, and the forwards that the pullback repeats.

    With c checkpoints fewer than n steps, n - c steps are run a third time; for solvers that reuse their last stage
    this is an upper bound by one call.
    """
    import diffrax

    each, before = calls(solver, steps, jumps=jumps)
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
    denoise: Callable[[Array, Array], Denoised], schedule: Any, level: Any, y: Array, span: Array, gap: Array,
    floor: Array, steps: int, solver: Any, adjoint: Any,
) -> Array:  # fmt: skip
    """The barred state after ``steps`` equal steps over ``span`` in s from ``level``; arguments as in `tfg_jax.ode`."""
    import diffrax

    def field(u: Array, y: Array, args: Any) -> Array:
        denoise, schedule, t, s, gap, span, floor = args
        point = points_at(schedule, t, s, gap, u * span, floor)
        return span * slope_of(denoise(point.scale * y, point.t)).astype(y.dtype)

    s = (level.alpha / (level.alpha + level.sigma)).astype(y.dtype)
    solver, adjoint = _thrifty(solver, adjoint, steps)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
        solver, t0=jnp.zeros((), y.dtype), t1=jnp.ones((), y.dtype), dt0=jnp.asarray(1.0 / steps, y.dtype), y0=y,
        args=(denoise, schedule, level.t, s, gap, span, floor),
        adjoint=adjoint, stepsize_controller=diffrax.ConstantStepSize(), max_steps=steps, throw=False,
    )  # fmt: skip
    return solution.ys[0]  # type: ignore[index]


def check_jumps(adjoint: Any) -> None:
    """Raise ValueError for an adjoint that cannot differentiate a field that jumps between steps."""
    import diffrax

    if isinstance(adjoint, diffrax.BacksolveAdjoint):
        raise ValueError(
            "adjoint=BacksolveAdjoint solves backwards and meets the controls, which jump between steps, from the "
            "wrong side; use RecursiveCheckpointAdjoint or DirectAdjoint"
        )


def solve_with_jumps(
    denoise: Callable[[Array, Array], Denoised], schedule: Any, starts: tuple[Array, Array, Array], lengths: Array,
    y: Array, shifts: Array | None, pushes: Array | None, floor: Array, solver: Any, adjoint: Any,
) -> Array:  # fmt: skip
    """The barred state after steps of given lengths in s, whose field differs from step to step.

        dy / du = length_i (v(y + shift_i, s_i + (u - i) length_i) + push_i),        u from i to i + 1

    Args:
        denoise: ``(x, t) -> Denoised`` of one sample.
        schedule: its schedule.
        starts: (t, s, 1 - s) where the steps start, (n,) each.
        lengths: of the steps, (n,).
        y: the barred state at the first start.
        shifts, pushes: one a step, (n, *shape); None is zero.
        floor: how close to data the network is called, in 1 - s.
        solver, adjoint: of diffrax.
    """
    import diffrax

    n, dtype = lengths.shape[0], y.dtype

    def field(u: Array, y: Array, args: Any) -> Array:
        denoise, schedule, starts, lengths, shifts, pushes, floor = args
        i = jnp.clip(jnp.floor(u).astype(jnp.int32), 0, n - 1)
        (t, s, gap), length = (a[i] for a in starts), lengths[i]
        point = points_at(schedule, t, s, gap, (u - i) * length, floor)
        at = y if shifts is None else y + shifts[i]
        slope = slope_of(denoise(point.scale * at, point.t)).astype(dtype)
        return length * (slope if pushes is None else slope + pushes[i])

    solver, adjoint = _thrifty(solver, adjoint, n)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
        solver, t0=jnp.zeros((), dtype), t1=jnp.asarray(n, dtype), dt0=None, y0=y,
        args=(denoise, schedule, starts, lengths, shifts, pushes, floor), adjoint=adjoint,
        stepsize_controller=_unit_steps()(), max_steps=n, throw=False,
    )  # fmt: skip
    return solution.ys[0]  # type: ignore[index]


@functools.cache
def _unit_steps() -> type:
    """The controller of steps [i, i + 1): each ends just before the next starts, so that its stages see its own field.

    A class made on first use, since diffrax is imported then.
    """
    import diffrax
    import equinox as eqx

    class UnitSteps(diffrax.AbstractStepSizeController):
        def wrap(self, direction: Any) -> Any:
            return self

        def init(
            self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any
        ) -> tuple[Any, Any]:
            return eqx.internal.prevbefore(t0 + 1.0), jnp.asarray(1, jnp.int32)

        def adapt_step_size(
            self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any, error_order: Any,
            controller_state: Any,
        ) -> tuple[Any, ...]:  # fmt: skip
            start = controller_state.astype(t1.dtype)
            end = eqx.internal.prevbefore(start + 1.0)
            # A Python True would be taken for the False of the first step.
            return True, start, end, jnp.asarray(True), controller_state + 1, diffrax.RESULTS.successful

    return UnitSteps


def _thrifty(solver: Any, adjoint: Any, steps: int) -> tuple[Any, Any]:
    """Solver and adjoint that repeat each network call once.

    A RecursiveCheckpointAdjoint that does not say otherwise keeps every state: they are small beside what a network
    keeps of one call.
    """
    import diffrax
    import equinox as eqx

    if adjoint is None or (isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint) and adjoint.checkpoints is None):
        adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=steps)
    if isinstance(solver, diffrax.AbstractERK) and solver.scan_kind is None:
        # The default loop over the stages is checkpointed as well, and would call the network a third time.
        solver = eqx.tree_at(lambda s: s.scan_kind, solver, "bounded", is_leaf=lambda leaf: leaf is None)
    return solver, adjoint
