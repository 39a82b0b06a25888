"""`tfg_jax.ode.solve` by one `jax.lax.scan` over the steps, for every explicit Runge-Kutta tableau."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import loops
from tfg_jax.checks import check_choice
from tfg_jax.denoiser import Denoised
from tfg_jax.ode.field import Field, Grid, velocity
from tfg_jax.ode.tableau import SOLVERS, tableau_of
from tfg_jax.result import Cost

Remat = Literal["none", "step"]
REMATS = ("none", "step")


def check(method: Any, adjoint: Any, remat: Any, steps: int, *, forward_mode: bool, jumps: bool) -> None:
    """As `tfg_jax.ode.check`."""
    if isinstance(method, str):
        check_choice("solver", method, SOLVERS)
    if adjoint is not None:
        raise ValueError(
            f"adjoint={type(adjoint).__name__} has no effect on solver={method!r}, which is a scan; "
            "pass remat=, or a diffrax solver such as diffrax.Midpoint()"
        )
    if remat is not None:
        check_choice("remat", remat, REMATS)


def cost(method: Any, adjoint: Remat, steps: int, *, first: bool, tail: bool, jumps: bool) -> tuple[Cost, int]:
    """As `tfg_jax.ode.cost`."""
    stages = tableau_of(method).stages
    calls = stages * steps + tail
    again = steps - 1 if first and not tail else steps
    return Cost(forwards=calls, pullbacks=calls), 0 if adjoint == "none" else stages * again


def solve(
    field: Field, y: Array, grid: Grid, method: Any, adjoint: Remat, *, first: Denoised | None = None,
    tail: bool = False, inputs: PyTree = None, accept: Callable | None = None, state: PyTree = None,
) -> tuple[Array, Any]:  # fmt: skip
    """As `tfg_jax.ode.solve`; with ``accept``, also decides after each step what is kept of it.

    Args:
        field, y, grid, method, adjoint, first, tail, inputs: as there.
        accept: ``(before, after, state) -> (y, state)``.
        state: its first state.

    Returns:
        The last y; the field's output there if ``first`` and ``tail`` are given, the last state if ``accept`` is.
    """
    tableau, dtype = tableau_of(method), y.dtype
    # With its first output known, a step ends with the first stage of the next one; else it begins with its own.
    nodes = grid.points(jnp.asarray(0.0 if first is None else 1.0, dtype))
    own = () if inputs is None else (inputs,)
    steps = grid.lengths.astype(dtype), grid.points(jnp.asarray(tableau.c, dtype)), nodes, own

    def forward(y: Array, output: Any, at: tuple) -> Array:
        length, inner, _, own = at

        def later(y: Array, i: int) -> Array:
            return velocity(field(y, jax.tree.map(lambda a: a[i], inner), *own)).astype(dtype)

        return tableau.step(y, velocity(output).astype(dtype), later, length)

    def step(carry: tuple[Array, Any], at: tuple) -> tuple[tuple[Array, Any], None]:
        y, kept = carry
        if first is None:
            moved = forward(y, field(y, at[2], *at[3]), at)
            return ((moved, None) if accept is None else accept(y, moved, kept)), None
        y = forward(y, kept, at)
        return (y, field(y, at[2], *at[3])), None

    body = step if adjoint == "none" else jax.checkpoint(step, prevent_cse=False)
    carry = (y, state if first is None else first)
    if first is None or tail:
        return loops.scan(body, carry, steps)[0]
    if grid.lengths.shape[0] > 1:
        carry = loops.scan(body, carry, jax.tree.map(lambda a: a[:-1], steps))[0]
    return forward(*carry, jax.tree.map(lambda a: a[-1], steps)), None
