"""Schedules of discrete checkpoints: a table of ``alphas_cumprod``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number, is_concrete, readable, safe_sqrt
from tfg_jax.declare import child
from tfg_jax.kinds import public
from tfg_jax.schedules.base import Path, as_float


@struct.dataclass
class Discrete(Path):
    """A table ``alphas_cumprod`` of T entries; node k sits at ``t = (k + 1) / T`` exactly, ``t = 0`` has alpha = 1.

    Between nodes log alpha is linear in t; alpha is, where it falls to 0 at the last node (zero terminal SNR). Build it
    with `from_alphas_cumprod`.
    """

    log_alpha: Float[Array, " T+1"] = child(
        help="log alpha at t = 0, 1/T, ..., 1; starts at 0 and decreases, to -inf if the last node has no signal"
    )

    @property
    def num_nodes(self) -> int:
        """T, the length of the table."""
        return self.log_alpha.shape[0] - 1

    @property
    def t_start(self) -> Any:
        """The last node with signal: t = 1, or the one before it for a table of zero terminal SNR."""
        before = 1.0 - 1.0 / self.num_nodes
        if is_concrete(self.log_alpha):
            return before if np.isneginf(np.asarray(self.log_alpha)[-1]) else 1.0
        return jnp.where(jnp.isneginf(self.log_alpha[-1]), before, 1.0)

    def _at(self, t: ArrayLike) -> tuple[Array, Array, Array]:
        """log alpha, its last interval held at the start where it has no end, how much of it is left, and whether."""
        nodes = table_position(self.num_nodes, t)
        low = jnp.clip(jnp.floor(nodes).astype(int), 0, self.num_nodes - 1)
        part = nodes - low
        table = jnp.asarray(self.log_alpha)
        here, there = table[low], table[low + 1]
        ends = jnp.isneginf(there)
        return (1.0 - part) * here + part * jnp.where(ends, here, there), 1.0 - part, ends

    def alpha(self, t: ArrayLike) -> Array:
        log_alpha, left, ends = self._at(t)
        return jnp.exp(log_alpha) * jnp.where(ends, left, 1.0)

    def sigma(self, t: ArrayLike) -> Array:
        log_alpha, left, ends = self._at(t)
        return safe_sqrt(jnp.where(ends, 1.0 - (jnp.exp(log_alpha) * left) ** 2, 0.0 - jnp.expm1(2.0 * log_alpha)))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        log_alpha = 0.5 * jax.nn.log_sigmoid(as_float(log_snr))
        times = jnp.linspace(0.0, 1.0, self.num_nodes + 1)
        table = jnp.asarray(self.log_alpha)
        ends = jnp.isneginf(table[-1])
        between = jnp.interp(-log_alpha, -table.at[-1].set(jnp.where(ends, table[-2] - 1.0, table[-1])), times)
        left = jnp.exp(jnp.minimum(log_alpha - table[-2], 0.0))
        return jnp.where(ends & (log_alpha < table[-2]), 1.0 - left / self.num_nodes, between)


def table_position(num_nodes: int, t: ArrayLike) -> Array:
    """``t num_nodes``, exactly k + 1 at node k of a table.

    Times such as (k + 1) / T come back a round-off away from their node. They are snapped to it, the gradient in t is
    not.
    """
    nodes = as_float(t) * num_nodes
    off = nodes - jnp.round(nodes)
    near = jnp.abs(off) < min(max(1e-3, 4.0 * num_nodes * float(jnp.finfo(nodes.dtype).eps)), 0.25)
    return nodes - jax.lax.stop_gradient(jnp.where(near, off, 0.0))


@public
def from_alphas_cumprod(alphas_cumprod: ArrayLike) -> Discrete:
    """The schedule of a discrete checkpoint.

    Args:
        alphas_cumprod: (T,) decreasing values in (0, 1), clean to noisy, as stored with the checkpoint; the last may be
            0 (zero terminal SNR, Lin et al., arXiv 2305.08891), where only x0, v and velocity networks can be asked.

    Raises:
        ValueError: the table is not one-dimensional, not inside (0, 1) or not decreasing.
    """
    table = readable("alphas_cumprod", alphas_cumprod)
    if table.ndim != 1 or table.size == 0:
        raise ValueError(
            f"alphas_cumprod must be a (T,) table, got shape {table.shape}; pass the checkpoint's 1-D array"
        )
    if not (np.all(table[:-1] > 0) and table[-1] >= 0 and np.all(table < 1) and np.all(np.diff(table) < 0)):
        raise ValueError(
            "alphas_cumprod must decrease inside (0, 1), clean to noisy, only its last may be 0; check for betas or a "
            "reversed table"
        )
    if table.size == 1 and table[0] == 0:
        raise ValueError("alphas_cumprod = [0] has no node with signal; give the checkpoint's whole table")
    with np.errstate(divide="ignore"):
        return Discrete(as_float(np.concatenate([[0.0], 0.5 * np.log(table)])))


@public
def cosine_table(num_nodes: int, offset: float = 0.008, max_beta: float = 0.999) -> Float[np.ndarray, " T"]:
    """The cosine ``alphas_cumprod`` of discrete checkpoints (Nichol & Dhariwal, arXiv 2102.09672), in float64.

        f(u) = cos(pi/2 (u + offset) / (1 + offset))^2,   beta_k = min(1 - f((k+1)/T) / f(k/T), max_beta)

    Args:
        num_nodes: T, >= 1.
        offset: >= 0.
        max_beta: in (0, 1); keeps the noisiest node above alpha = 0.

    Returns:
        (T,), for `from_alphas_cumprod`.

    Raises:
        ValueError: an argument out of range.
    """
    check_count("num_nodes", num_nodes)
    check_number("offset", offset, low=0.0)
    if not 0.0 < max_beta < 1.0:
        raise ValueError(f"max_beta={max_beta} must lie in (0, 1); 0.999 is the published value")
    angle = 0.5 * np.pi * (np.linspace(0.0, 1.0, num_nodes + 1) + offset) / (1.0 + offset)
    f = np.cos(angle) ** 2
    return np.cumprod(1.0 - np.minimum(1.0 - f[1:] / f[:-1], max_beta))
