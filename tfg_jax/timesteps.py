"""Time grids: ``grid(schedule, steps)`` gives steps + 1 decreasing times, the last usually 0 (data).

The discrete grids are those of the checkpoints' own code: node k of a table of length ``num_nodes`` is the time
(k + 1) / num_nodes, and the step from the last node goes to t = 0 (alpha = 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax import struct
from tfg_jax.schedules import Schedule


@runtime_checkable
class Grid(Protocol):
    """A rule that places the sampling times."""

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        """Decreasing times; static length."""
        ...


@struct.dataclass
class Uniform:
    """Equally spaced times from the schedule's ``t_start`` to 0."""

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        return jnp.linspace(schedule.t_start, 0.0, steps + 1)


@struct.dataclass
class Leading:
    """Nodes 0, r, 2r, ... with r = num_nodes // steps, noisy to clean ("leading" spacing), then t = 0.

    Attributes:
        num_nodes: length T of the checkpoint's table.
        offset: added to every node (Stable Diffusion's ``steps_offset`` is 1).
        end_at_data: False ends at node 0 (t = 1/T) instead of t = 0, as checkpoints with ``set_alpha_to_one=False`` do.
    """

    num_nodes: int = struct.field(pytree_node=False, default=1000)
    offset: int = struct.field(pytree_node=False, default=0)
    end_at_data: bool = struct.field(pytree_node=False, default=True)

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        nodes = np.arange(steps)[::-1] * (self.num_nodes // steps) + self.offset
        return _times(nodes, self.num_nodes, self.end_at_data)


@struct.dataclass
class Trailing:
    """Nodes T - 1, T - 1 - T/steps, ... rounded ("trailing" spacing, Lin et al., arXiv 2305.08891), then t = 0."""

    num_nodes: int = struct.field(pytree_node=False, default=1000)

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        nodes = np.round(np.arange(self.num_nodes, 0, -self.num_nodes / steps))[:steps] - 1
        return _times(nodes, self.num_nodes, True)


@struct.dataclass
class Linspace:
    """Nodes round(linspace(0, T - 1, steps)), noisy to clean, then t = 0.

    The even spacing of the ADM code (Dhariwal & Nichol, arXiv 2105.05233) is the same grid: both ends included.
    """

    num_nodes: int = struct.field(pytree_node=False, default=1000)

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        nodes = np.round(np.linspace(0, self.num_nodes - 1, steps))[::-1]
        return _times(nodes, self.num_nodes, True)


@struct.dataclass
class Karras:
    """``(sigma/alpha)^(1/exponent)`` equally spaced from the noisy end to ``sigma_min``, then t = 0 (arXiv 2206.00364).

    Attributes:
        sigma_min: smallest nonzero noise-to-signal ratio, > 0.
        sigma_max: largest; None is that of the schedule's ``t_start``.
        exponent: 7 in the paper (its rho).
    """

    sigma_min: ArrayLike = 0.002
    sigma_max: ArrayLike | None = None
    exponent: ArrayLike = 7.0

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        top = (
            jnp.exp(-0.5 * schedule.log_snr(schedule.t_start))
            if self.sigma_max is None
            else jnp.asarray(self.sigma_max)
        )
        root = 1.0 / self.exponent
        ratios = jnp.linspace(top**root, jnp.asarray(self.sigma_min) ** root, steps) ** self.exponent
        return jnp.append(schedule.t_of_log_snr(-2.0 * jnp.log(ratios)), 0.0)


@struct.dataclass
class UniformLogSNR:
    """Equally spaced log-SNR from that of ``t_start`` up to ``log_snr_max``, then t = 0.

    Attributes:
        log_snr_max: log(alpha^2/sigma^2) of the last noisy time.
        log_snr_min: of the first; None is that of the schedule's ``t_start``.
    """

    log_snr_max: ArrayLike = 12.0
    log_snr_min: ArrayLike | None = None

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        low = schedule.log_snr(schedule.t_start) if self.log_snr_min is None else self.log_snr_min
        return jnp.append(schedule.t_of_log_snr(jnp.linspace(low, self.log_snr_max, steps)), 0.0)


@struct.dataclass
class CosineLogSNR:
    """``log-SNR = -2 log tan(a u + b)`` with u equally spaced, then t = 0 (Ho & Salimans, arXiv 2207.12598).

    As a distribution of training times (u uniform) it is the paper's truncated hyperbolic secant.

    Attributes:
        log_snr_min: log(alpha^2/sigma^2) of the first time, u = 1; None is that of the schedule's ``t_start``.
        log_snr_max: of the last noisy time, u = 0.
    """

    log_snr_min: ArrayLike | None = -20.0
    log_snr_max: ArrayLike = 20.0

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        return jnp.append(self.times(schedule, jnp.linspace(1.0, 0.0, steps)), 0.0)

    def times(self, schedule: Any, u: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The times of the distribution's quantiles ``u`` in [0, 1]; increasing, at most ``t_start``."""
        low = schedule.log_snr(schedule.t_start) if self.log_snr_min is None else self.log_snr_min
        return jnp.minimum(schedule.t_of_log_snr(self.log_snr(u, low)), schedule.t_start)

    def log_snr(self, u: Float[Array, "*n"], log_snr_min: ArrayLike) -> Float[Array, "*n"]:
        """The quantile ``u`` of the distribution: log_snr_max at 0, log_snr_min at 1."""
        low, high = jnp.asarray(log_snr_min), jnp.asarray(self.log_snr_max)
        near, far = jnp.arctan(jnp.exp(-0.5 * high)), jnp.arctan(jnp.exp(0.5 * low))
        span = jnp.arctan(jnp.exp(-0.5 * low)) - near
        angle, complement = span * u + near, span * (1.0 - u) + far
        # Beyond 45 degrees the tangent by its complement, which keeps its digits where that is small.
        tangent = jnp.where(angle < complement, jnp.tan(angle), 1.0 / jnp.tan(complement))
        return -2.0 * jnp.log(tangent)


@struct.dataclass
class Explicit:
    """Times given by the user: (steps + 1,) decreasing values in [0, 1]."""

    times: Float[Array, " steps+1"] | Sequence[float]

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        times = jnp.asarray(self.times)
        if times.shape != (steps + 1,):
            raise ValueError(f"times has shape {times.shape}, steps={steps} needs ({steps + 1},)")
        return times


def _times(nodes: np.ndarray, num_nodes: int, end_at_data: bool) -> Float[Array, " times"]:
    if nodes.min() < 0 or nodes.max() >= num_nodes or np.any(np.diff(nodes) >= 0):
        raise ValueError(f"steps={len(nodes)} does not fit a table of num_nodes={num_nodes}; use fewer steps")
    last = 0.0 if end_at_data else 1.0 / num_nodes
    return jnp.asarray(np.append((nodes + 1) / num_nodes, last), jnp.result_type(float))
