"""Explicit Runge-Kutta methods, and one step of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from jaxtyping import Array

from tfg_jax import struct

SolverName = Literal["euler", "midpoint", "heun", "ralston"]
SOLVERS = ("euler", "midpoint", "heun", "ralston")


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


def tableau_of(solver: SolverName | Tableau) -> Tableau:
    """The tableau of a solver's name; a tableau is itself."""
    if isinstance(solver, Tableau):
        return solver
    return {"euler": EULER, "midpoint": MIDPOINT, "heun": HEUN, "ralston": RALSTON}[solver]
