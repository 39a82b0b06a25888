"""`tfg_jax.ode.solve` by diffrax, on the same grid.

    dy / du = length_i v(y, s_i + (u - i) length_i),      u from 0 to n, i = floor(u)

so that a horizon of 0 is a field of 0 rather than a step of length 0. diffrax is imported on first use.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax.denoiser import Denoised
from tfg_jax.ode.field import Field, Grid, velocity
from tfg_jax.result import Cost

FIX = "use RecursiveCheckpointAdjoint, DirectAdjoint or BacksolveAdjoint"


def check(solver: Any, adjoint: Any, remat: Any, steps: int, *, forward_mode: bool, jumps: bool) -> None:
    """As `tfg_jax.ode.check`."""
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
    if remat is not None:
        raise ValueError(f"remat={remat!r} has no effect on diffrax solvers; pass adjoint= or drop remat")
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
    if jumps and isinstance(adjoint, diffrax.BacksolveAdjoint):
        raise ValueError(
            "adjoint=BacksolveAdjoint solves backwards and meets the controls, which jump between steps, from the "
            "wrong side; use RecursiveCheckpointAdjoint or DirectAdjoint"
        )


def cost(solver: Any, adjoint: Any, steps: int, *, first: bool, tail: bool, jumps: bool) -> tuple[Cost, int]:
    """As `tfg_jax.ode.cost`; ``first`` is called again, and with ``jumps`` no step reuses a stage of the last.

    With c checkpoints fewer than n steps, n - c steps are run a third time; for solvers that reuse their last stage
    this is an upper bound by one call.
    """
    import diffrax

    each, before = 1, 0
    if not isinstance(solver, diffrax.Euler):
        reused = solver.tableau.fsal and not jumps
        each, before = (solver.tableau.num_stages - 1, 1) if reused else (solver.tableau.num_stages, 0)
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
    return Cost(forwards=total + tail + first, pullbacks=total + tail), repeated


def solve(
    field: Field, y: Array, grid: Grid, solver: Any, adjoint: Any, *, first: Denoised | None = None,
    tail: bool = False, inputs: PyTree = None,
) -> tuple[Array, None]:  # fmt: skip
    """As `tfg_jax.ode.solve`, without the output at the end."""
    import diffrax

    n, dtype, jumps = grid.lengths.shape[0], y.dtype, inputs is not None

    def along(u: Array, y: Array, args: tuple[Field, Grid, PyTree]) -> Array:
        field, grid, own = args
        i = jnp.clip(jnp.floor(u).astype(jnp.int32), 0, n - 1)
        start, length, own = jax.tree.map(lambda a: a[i], (grid.starts, grid.lengths, own))
        output = field(y, grid.point(start, u - i, length), *(() if own is None else (own,)))
        return length * velocity(output).astype(dtype)

    solver, adjoint = _thrifty(solver, adjoint, n)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(along),  # pyright: ignore[reportArgumentType]
        solver, t0=jnp.zeros((), dtype), t1=jnp.asarray(n, dtype), dt0=None if jumps else jnp.ones((), dtype), y0=y,
        args=(field, grid, inputs), adjoint=adjoint, max_steps=n, throw=False,
        stepsize_controller=_unit_steps()() if jumps else diffrax.ConstantStepSize(),
    )  # fmt: skip
    return solution.ys[0], None  # type: ignore[index]


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
