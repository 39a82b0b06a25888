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
from tfg_jax.declare import Declared, child, count, number, static
from tfg_jax.schedules import Schedule


@runtime_checkable
class Grid(Protocol):
    """A rule that places the sampling times."""

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        """Decreasing times; static length."""
        ...


class TimeGrid(Declared):
    """Base of time grids, which gives them their table in the documentation."""

    table = "grids"


NODES = "length T of the checkpoint's table"


@struct.dataclass
class Uniform(TimeGrid):
    """Equally spaced times from the schedule's ``t_start`` to 0."""

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        return jnp.linspace(schedule.t_start, 0.0, steps + 1)


@struct.dataclass
class Leading(TimeGrid):
    """Nodes 0, r, 2r, ... with r = num_nodes // steps, noisy to clean ("leading" spacing), then t = 0."""

    num_nodes: int = count(default=1000, help=NODES)
    offset: int = count(default=0, low=0, help="added to every node; Stable Diffusion's steps_offset is 1")
    end_at_data: bool = static(
        default=True, help="False ends at t = 1/T instead of 0, as checkpoints with set_alpha_to_one=False do"
    )

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        nodes = np.arange(steps)[::-1] * (self.num_nodes // steps) + self.offset
        return _times(nodes, self.num_nodes, self.end_at_data)


@struct.dataclass
class Trailing(TimeGrid):
    """Nodes T - 1, T - 1 - T/steps, ... rounded ("trailing" spacing, Lin et al., arXiv 2305.08891), then t = 0.

    @inproceedings{lin2024common,
      title = {Common Diffusion Noise Schedules and Sample Steps are Flawed},
      author = {Lin, Shanchuan and Liu, Bingchen and Li, Jiashi and Yang, Xiao},
      booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision},
      year = {2024},
      eprint = {2305.08891}, archiveprefix = {arXiv},
    }
    """

    num_nodes: int = count(default=1000, help=NODES)

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        nodes = np.round(np.arange(self.num_nodes, 0, -self.num_nodes / steps))[:steps] - 1
        return _times(nodes, self.num_nodes, True)


@struct.dataclass
class Linspace(TimeGrid):
    """Nodes round(linspace(0, T - 1, steps)), noisy to clean, then t = 0.

    The even spacing of the ADM code (Dhariwal & Nichol, arXiv 2105.05233) is the same grid: both ends included.
    """

    num_nodes: int = count(default=1000, help=NODES)

    def __call__(self, schedule: Schedule, steps: int) -> Float[Array, " {steps}+1"]:
        nodes = np.round(np.linspace(0, self.num_nodes - 1, steps))[::-1]
        return _times(nodes, self.num_nodes, True)


@struct.dataclass
class Karras(TimeGrid):
    """``(sigma/alpha)^(1/exponent)`` equally spaced from the noisy end to ``sigma_min``, then t = 0 (arXiv 2206.00364).

    @inproceedings{karras2022edm,
      title = {Elucidating the Design Space of Diffusion-Based Generative Models},
      author = {Karras, Tero and Aittala, Miika and Aila, Timo and Laine, Samuli},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2022},
      eprint = {2206.00364}, archiveprefix = {arXiv},
    }
    """

    sigma_min: ArrayLike = number(default=0.002, low=0.0, strict=True, help="smallest sigma / alpha that is not 0")
    sigma_max: ArrayLike | None = number(
        default=None, low=0.0, strict=True, help="largest sigma / alpha; None is that of the schedule's t_start"
    )
    exponent: ArrayLike = number(default=7.0, help="the paper's rho")

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        top = self.sigma_max
        top = jnp.exp(-0.5 * schedule.log_snr(schedule.t_start)) if top is None else jnp.asarray(top)
        root = 1.0 / self.exponent
        ratios = jnp.linspace(top**root, jnp.asarray(self.sigma_min) ** root, steps) ** self.exponent
        return jnp.append(schedule.t_of_log_snr(-2.0 * jnp.log(ratios)), 0.0)


@struct.dataclass
class UniformLogSNR(TimeGrid):
    """Equally spaced log-SNR ``log(alpha^2 / sigma^2)`` from that of ``t_start`` up to ``log_snr_max``, then t = 0."""

    log_snr_max: ArrayLike = number(default=12.0, help="log-SNR of the last noisy time")
    log_snr_min: ArrayLike | None = number(default=None, help="log-SNR of the first time; None is that of t_start")

    def __call__(self, schedule: Any, steps: int) -> Float[Array, " {steps}+1"]:
        low = schedule.log_snr(schedule.t_start) if self.log_snr_min is None else self.log_snr_min
        return jnp.append(schedule.t_of_log_snr(jnp.linspace(low, self.log_snr_max, steps)), 0.0)


@struct.dataclass
class CosineLogSNR(TimeGrid):
    """``log-SNR = -2 log tan(a u + b)`` with u equally spaced, then t = 0 (Ho & Salimans, arXiv 2207.12598).

    As a distribution of training times (u uniform) it is the paper's truncated hyperbolic secant.

    Cite: CFG
    """

    log_snr_min: ArrayLike | None = number(
        default=-20.0, help="log-SNR of the first time, u = 1; None is that of the schedule's t_start"
    )
    log_snr_max: ArrayLike = number(default=20.0, help="log-SNR of the last noisy time, u = 0")

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
class Explicit(TimeGrid):
    """Times given by the user: (steps + 1,) decreasing values in [0, 1]."""

    times: Float[Array, " steps+1"] | Sequence[float] = child(help="(steps + 1,) decreasing times in [0, 1]")

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
