"""The probability-flow ODE in straight-line coordinates, on a fixed grid, by explicit Runge-Kutta steps in one scan.

    s = alpha / (alpha + sigma),  xbar = x / (alpha + sigma):      d xbar / ds = v = x0(x, t) - eps(x, t)

from noise (s = 0) to data (s = 1), on every schedule. One Euler step to data is exactly Tweedie's estimate and one
between two levels is DDIM at eta = 0. The grid is fixed because an adaptive solver controls the error of the state
alone: at a fixed point of the flow it steps over everything the gradient depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.denoiser import Denoised

Remat = Literal["none", "step"]
REMATS = ("none", "step")
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
        """Slopes of one step."""
        return len(self.b)


EULER = Tableau((), (1.0,), ())
MIDPOINT = Tableau(((0.5,),), (0.0, 1.0), (0.5,))
HEUN = Tableau(((1.0,),), (0.5, 0.5), (1.0,))
RALSTON = Tableau(((2.0 / 3.0,),), (0.25, 0.75), (2.0 / 3.0,))


def tableau_of(solver: SolverName | Tableau) -> Tableau:
    """The tableau of a solver's name; a tableau is itself."""
    if isinstance(solver, Tableau):
        return solver
    return {"euler": EULER, "midpoint": MIDPOINT, "heun": HEUN, "ralston": RALSTON}[solver]


def by_scan(solver: Any) -> bool:
    """Whether the solver is one of our own scans, not diffrax's."""
    return isinstance(solver, str | Tableau)


class Points(NamedTuple):
    """Where the network is called: its time, and ``alpha + sigma`` there; arrays of one shape."""

    t: Array
    scale: Array


def margin_of(schedule: Any, dtype: Any, margin: Any = None) -> Array:
    """How close to data, in 1 - s, the network is called at most.

    The slope is 0/0 at s = 1, and a network has never seen cleaner samples than it was trained on: 1e-3 in float32,
    1e-5 in float64, and the first node of a discrete table if that is noisier.
    """
    if margin is not None:
        return jnp.asarray(margin, dtype)
    smallest = jnp.asarray(1e-5 if jnp.finfo(dtype).bits == 64 else 1e-3, dtype)
    nodes = getattr(schedule, "num_nodes", None)
    if nodes is None:
        return smallest
    first = schedule.level(1.0 / nodes)
    return jnp.maximum(smallest, (first.sigma / (first.alpha + first.sigma)).astype(dtype))


def points_at(schedule: Any, t: Array, s: Array, gap: Array, moved: Array, floor: Array) -> Points:
    """The points at ``s + moved``, ``moved`` >= 0 of any shape, seen from the level at time t with ``gap = 1 - s``.

    The gap is given beside s because 1 - s would lose it near data. Points that have not moved keep the time ``t``
    itself, not t through s and back; their slope in ``moved`` is kept. No point is closer to data than ``floor``.
    """
    tiny = jnp.finfo(moved.dtype).tiny
    far = 2.0 * (jnp.log(jnp.maximum(s + moved, tiny)) - jnp.log(jnp.maximum(gap - moved, jnp.minimum(floor, gap))))
    times = schedule.t_of_log_snr(far)
    times = jnp.where(moved > 0, times, t + (times - jax.lax.stop_gradient(times)))
    level = schedule.level(times)
    return Points(times, (level.alpha + level.sigma).astype(moved.dtype))


def slope_of(denoised: Denoised) -> Array:
    """The field ``v = x0 - eps``, which for most predictions is finite also where ``(x0 - xbar) / (1 - s)`` is 0/0."""
    return denoised.x0 - denoised.eps


def move(tableau: Tableau, y: Array, first: Array, slope: Callable[[Array, int], Array], length: Array) -> Array:
    """One step of ``length`` from y, whose slope is ``first``; ``slope(y, i)`` is that of later stage i."""
    slopes = [first]
    for i, row in enumerate(tableau.a):
        slopes.append(slope(y + length * combined(row, slopes), i))
    return y + length * combined(tableau.b, slopes)


def combined(weights: Sequence[float], slopes: Sequence[Array]) -> Array:
    """The weighted sum over the nonzero weights."""
    terms = [w * k if w != 1.0 else k for w, k in zip(weights, slopes, strict=True) if w != 0.0]
    return sum(terms[1:], terms[0])


def scan_steps(
    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]], carry: PyTree, at: PyTree, remat: Remat
) -> PyTree:
    """The last carry of ``lax.scan(step, carry, at)`` with the memory of its gradient traded for a second forward.

    "none" keeps what every step's gradient needs, "step" the carries alone.
    """
    return jax.lax.scan(step if remat == "none" else jax.checkpoint(step, prevent_cse=False), carry, at)[0]


def integrate(
    denoise: Callable[[Array, Array], Denoised], y: Array, first: Denoised, grid: tuple[Array, Points, Points],
    tableau: Tableau, remat: Remat = "none", end: bool = True,
) -> tuple[Array, Denoised]:  # fmt: skip
    """From ``y``, where the network says ``first``, over the steps of a grid.

    Args:
        denoise: ``(x, t) -> Denoised`` of one sample.
        y: the barred state at the first node.
        first: the network's output there, already evaluated.
        grid: step lengths (n,), points of the later stages (n, stages - 1), points of the steps' ends (n,).
        tableau: the method.
        remat: see `scan_steps`.
        end: whether the network is called at the last node.

    Returns:
        The barred state at the last node and the network's output there (without ``end``, at the node before).
    """

    def at_point(y: Array, point: Points) -> Denoised:
        return denoise(point.scale * y, point.t)

    def forward(carry: tuple[Array, Denoised], at: tuple) -> Array:
        (y, denoised), (length, inner, _) = carry, at
        later = lambda y, i: slope_of(at_point(y, jax.tree.map(lambda a: a[i], inner)))  # noqa: E731
        return move(tableau, y, slope_of(denoised), later, length)

    def step(carry: tuple[Array, Denoised], at: tuple) -> tuple[tuple[Array, Denoised], None]:
        y = forward(carry, at)
        return (y, at_point(y, at[2])), None

    if end:
        return scan_steps(step, (y, first), grid, remat)
    carry = (y, first)
    if grid[0].shape[0] > 1:
        carry = scan_steps(step, carry, jax.tree.map(lambda a: a[:-1], grid), remat)
    return forward(carry, jax.tree.map(lambda a: a[-1], grid)), carry[1]


def uniform_grid(
    schedule: Any, level: Any, span: Array, gap: Array, steps: int, tableau: Tableau, floor: Array
) -> tuple[Array, Points, Points]:
    """``steps`` equal steps in s from ``level``, over ``span`` altogether; the argument of `integrate`."""
    length = span / steps
    index = jnp.arange(steps, dtype=span.dtype)
    inner = (index[:, None] + jnp.asarray(tableau.c, span.dtype).reshape(1, -1)) * length
    s = (level.alpha / (level.alpha + level.sigma)).astype(span.dtype)
    at = lambda moved: points_at(schedule, level.t, s, gap, moved, floor)  # noqa: E731
    return jnp.full((steps,), length), at(inner), at((index + 1.0) * length)
