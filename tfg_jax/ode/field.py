"""The vector field of the probability flow, and the steps along which it is solved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_steps
from tfg_jax.denoiser import Denoised
from tfg_jax.kinds import public
from tfg_jax.schedules import Level

Field = Callable[..., Array | Denoised]


class Point(NamedTuple):
    """Where the network is called: its time, and ``alpha + sigma`` there; arrays of one shape."""

    t: Array
    scale: Array


def velocity(output: Array | Denoised) -> Array:
    """What a field means: the flow's ``x0 - eps``, for most predictions finite also where ``(x0 - xbar) / (1 - s)`` is
    0/0; a velocity is itself."""
    return output.x0 - output.eps if isinstance(output, Denoised) else output


@struct.dataclass
class ProbabilityFlow:
    """The network's field.

    Attributes:
        denoise: ``(x, t) -> Denoised`` of one sample, a pytree for adjoints that reach its weights.
    """

    denoise: Callable[[Array, Array], Denoised]

    def __call__(self, y: Array, point: Point) -> Denoised:
        """The network's output at the barred state ``y``."""
        return self.denoise(point.scale * y, point.t)


@struct.dataclass
class Grid:
    """The steps of a solve.

    Attributes:
        lengths: of each step, negative towards noise.
        starts: what ``point`` needs to know of each step, leaves (n, ...).
        point: ``(start, share, length) -> point`` at a share in [0, 1] of the way along a step, in arrays of no axes.
    """

    lengths: Float[Array, " n"]
    starts: PyTree
    point: Callable[[PyTree, Array | float, Array], PyTree]

    def points(self, share: Array | float) -> PyTree:
        """The points at shares, of any shape, of every step: leaves (n, *share.shape)."""
        return jax.vmap(lambda start, length: self.point(start, share, length))(self.starts, self.lengths)

    @property
    def end(self) -> PyTree:
        """The point where the solve ends."""
        last = jax.tree.map(lambda a: a[-1], self.starts)
        return self.point(last, 1.0, self.lengths[-1])


class Start(NamedTuple):
    """A step as a grid of the flow knows it: it starts ``offset`` steps from a level (None is 0), whose time, s and
    1 - s these are. The gap is given beside s because 1 - s would lose it near data."""

    t: Array
    s: Array
    gap: Array
    offset: Array | None


@public
def equal_steps(schedule: Any, level: Level, span: Float[Array, ""], steps: int, margin: Float[Array, ""]) -> Grid:
    """``steps`` equal steps in s from ``level``, over ``span`` >= 0 altogether.

    Args:
        schedule: of the network.
        level: where the solve starts.
        span: the whole length in s; its gradient is kept.
        steps: number of steps, >= 1.
        margin: how close to data the network is called at most, see `margin_of`.
    Raises:
        ValueError: no steps.
    """
    check_steps(steps)
    dtype, total = span.dtype, level.alpha + level.sigma
    t, s, gap = (
        jnp.broadcast_to(a, (steps,))
        for a in (level.t, (level.alpha / total).astype(dtype), (level.sigma / total).astype(dtype))
    )
    starts = Start(t, s, gap, jnp.arange(steps, dtype=dtype))
    return Grid(jnp.full((steps,), span / steps), starts, jax.tree_util.Partial(_flow_point, schedule, margin))


@public
def steps_between(schedule: Any, levels: Level, margin: Float[Array, ""]) -> Grid:
    """Steps between the levels of a sampler's grid, from noise to data; arguments as in `equal_steps`."""
    dtype, total = margin.dtype, levels.alpha + levels.sigma
    s, gap = (levels.alpha / total).astype(dtype), (levels.sigma / total).astype(dtype)
    starts = Start(levels.t[:-1], s[:-1], gap[:-1], None)
    return Grid(gap[:-1] - gap[1:], starts, jax.tree_util.Partial(_flow_point, schedule, margin))


def _flow_point(schedule: Any, margin: Array, start: Start, share: Array | float, length: Array) -> Point:
    """The point at a share of a step.

    Points that have not moved from their level keep its time, not t through s and back; their derivative in the motion
    is kept. No point is closer to data than the margin.
    """
    if start.offset is None and isinstance(share, float) and share == 0.0:
        level = schedule.level(start.t)
        return Point(level.t, (level.alpha + level.sigma).astype(length.dtype))
    moved = (share if start.offset is None else start.offset + share) * length
    tiny, gap = jnp.finfo(moved.dtype).tiny, start.gap
    left = jnp.maximum(gap - moved, jnp.minimum(margin, gap))
    times = schedule.t_of_log_snr(2.0 * (jnp.log(jnp.maximum(start.s + moved, tiny)) - jnp.log(left)))
    times = jnp.where(moved > 0, times, jax.lax.stop_gradient(start.t) + (times - jax.lax.stop_gradient(times)))
    level = schedule.level(times)
    return Point(times, (level.alpha + level.sigma).astype(moved.dtype))


def margin_of(schedule: Any, dtype: Any, margin: Any = None) -> Array:
    """How close to data, in 1 - s, the network is called at most.

    The velocity is 0/0 at s = 1, and a network has never seen cleaner samples than it was trained on: 1e-3 in float32,
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
