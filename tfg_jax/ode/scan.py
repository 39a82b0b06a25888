"""Explicit Runge-Kutta methods, and `tfg_jax.ode.solve` by one `jax.lax.scan` over their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import loops, struct
from tfg_jax.checks import check_choice
from tfg_jax.denoiser import Denoised
from tfg_jax.ode.field import Field, Grid, velocity
from tfg_jax.result import Cost

Remat = Literal["none", "step"]
REMATS = ("none", "step")


@struct.dataclass
class Tableau:
    """An explicit Runge-Kutta method.

    Attributes:
        a: rows of the stages after the first, ``((a_21,), (a_31, a_32), ...)``.
        b: weights of all stages.
        c: positions within the step of the stages after the first.
    """

    a: tuple[tuple[float, ...], ...] = struct.field(pytree_node=False)
    b: tuple[float, ...] = struct.field(pytree_node=False)
    c: tuple[float, ...] = struct.field(pytree_node=False)

    @property
    def stages(self) -> int:
        """Velocities of one step."""
        return len(self.b)

    def step(self, y: Array, first: Array, velocity: Callable[[Array, int], Array], length: Array) -> Array:
        """One step of ``length`` from y, where the velocity is ``first``; ``velocity(y, i)`` is that of later stage i.

        Cost: stages - 1 velocities.
        """
        velocities = [first]
        for i, row in enumerate(self.a):
            velocities.append(velocity(y + length * _combined(row, velocities), i))
        return y + length * _combined(self.b, velocities)


def _combined(weights: Sequence[float], velocities: Sequence[Array]) -> Array:
    """The weighted sum over the nonzero weights."""
    terms = [w * v if w != 1.0 else v for w, v in zip(weights, velocities, strict=True) if w != 0.0]
    return sum(terms[1:], terms[0])


EULER = Tableau((), (1.0,), ())
MIDPOINT = Tableau(((0.5,),), (0.0, 1.0), (0.5,))
HEUN = Tableau(((1.0,),), (0.5, 0.5), (1.0,))
RALSTON = Tableau(((2.0 / 3.0,),), (0.25, 0.75), (2.0 / 3.0,))
RK4 = Tableau(((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0), (0.5, 0.5, 1.0))
NAMED = {"euler": EULER, "midpoint": MIDPOINT, "heun": HEUN, "ralston": RALSTON}
SOLVERS = tuple(NAMED)


def tableau_of(method: str | Tableau) -> Tableau:
    """The tableau of a name; a tableau is itself."""
    return NAMED[method] if isinstance(method, str) else method


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
    nodes = grid.points(0.0 if first is None else 1.0)
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
    return forward(carry[0], carry[1], jax.tree.map(lambda a: a[-1], steps)), None
