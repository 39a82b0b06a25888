"""Noise schedules: the path ``x_t = alpha(t) x_0 + sigma(t) eps`` from data (t = 0) to noise (t = 1).

A schedule says one thing, the log-SNR ``log(alpha^2 / sigma^2)`` against time, in two forms: `alpha` and `sigma`, and
the inverse `t_of_log_snr`. Everything else (straight-line coordinates, re-noising, VP-equivalent levels) follows from a
`Level`. Schedules are frozen pytrees: their numbers are traced leaves, in which everything can be differentiated. Where
sigma begins as a root of t (VP, VE), its infinite gradient in t at t = 0 is given as 0.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number, is_concrete, readable, safe_sqrt
from tfg_jax.kinds import public

T_OPEN = 0.999
"""Where sampling starts on schedules whose alpha vanishes at t = 1 (cosine, rectified flow)."""


@struct.dataclass
class Level:
    """One point of the path: time ``t`` in [0, 1], signal scale ``alpha``, noise scale ``sigma`` (all of one shape)."""

    t: Array
    alpha: Array
    sigma: Array

    @property
    def scale(self) -> Array:
        """``sqrt(alpha^2 + sigma^2)``: dividing x by it gives variance-preserving (VP) coordinates."""
        return jnp.sqrt(self.alpha**2 + self.sigma**2)

    @property
    def abar(self) -> Array:
        """The VP-equivalent cumulative alpha ``alpha^2 / (alpha^2 + sigma^2)``, in [0, 1]."""
        return self.alpha**2 / (self.alpha**2 + self.sigma**2)

    @property
    def noise_share(self) -> Array:
        """``1 - abar`` without the cancellation: ``sigma^2 / (alpha^2 + sigma^2)``, in [0, 1]."""
        return self.sigma**2 / (self.alpha**2 + self.sigma**2)

    @property
    def s(self) -> Array:
        """Straight-line time ``alpha / (alpha + sigma)``: 0 is noise, 1 is data."""
        return self.alpha / (self.alpha + self.sigma)

    @property
    def log_snr(self) -> Array:
        """``2 log(alpha / sigma)``; +inf at the data end."""
        return 2.0 * (jnp.log(self.alpha) - jnp.log(self.sigma))


@runtime_checkable
class Schedule(Protocol):
    """What the library asks of a schedule; write your own by giving these five members."""

    @property
    def t_start(self) -> Array | float:
        """The largest time with alpha > 0: where sampling starts by default."""
        ...

    def alpha(self, t: ArrayLike) -> Array:
        """Signal scale at time ``t`` in [0, 1], any shape: 1 at t = 0, never below 0."""
        ...

    def sigma(self, t: ArrayLike) -> Array:
        """Noise scale at time ``t`` in [0, 1], any shape: 0 at t = 0, increasing relative to alpha."""
        ...

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        """The time in [0, 1] at which ``log(alpha^2 / sigma^2)`` is ``log_snr``, any shape."""
        ...

    def level(self, t: ArrayLike) -> Level:
        """The path's point at time ``t``."""
        ...


class _Path(Schedule):
    """Members shared by all schedules, written from alpha and sigma alone."""

    t_start: float = 1.0

    def level(self, t: ArrayLike) -> Level:
        """The path's point at time ``t`` in [0, 1], any shape."""
        t = _float(t)
        return Level(t, self.alpha(t), self.sigma(t))

    def log_snr(self, t: ArrayLike) -> Array:
        """``log(alpha^2 / sigma^2)`` at time ``t``; decreasing in t, +inf at t = 0."""
        return self.level(t).log_snr

    def t_of_s(self, s: ArrayLike) -> Array:
        """The time whose straight-line coordinate ``alpha / (alpha + sigma)`` is ``s`` in (0, 1]."""
        s = _float(s)
        return self.t_of_log_snr(2.0 * (jnp.log(s) - jnp.log1p(-s)))


@struct.dataclass
class VPLinear(_Path):
    """Variance preserving with linear beta: ``log alpha = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2``.

    Ho et al. (arXiv 2006.11239) in continuous time (Song et al., arXiv 2011.13456). 0 < beta_min <= beta_max.
    """

    beta_min: ArrayLike = 0.1
    beta_max: ArrayLike = 20.0

    def _log_alpha(self, t: ArrayLike) -> Array:
        t = _float(t)
        low, high = _float(self.beta_min), _float(self.beta_max)
        return -0.25 * t**2 * (high - low) - 0.5 * t * low

    def alpha(self, t: ArrayLike) -> Array:
        return jnp.exp(self._log_alpha(t))

    def sigma(self, t: ArrayLike) -> Array:
        return safe_sqrt(0.0 - jnp.expm1(2.0 * self._log_alpha(t)))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        drop = jax.nn.softplus(-_float(log_snr))  # -2 log alpha
        low, gradient = _float(self.beta_min), _float(self.beta_max) - _float(self.beta_min)
        # The root of gradient t^2 / 2 + beta_min t = drop, in the form without cancellation and safe at gradient = 0.
        return 2.0 * drop / (low + jnp.sqrt(low**2 + 2.0 * gradient * drop))


@struct.dataclass
class VPCosine(_Path):
    """Variance preserving cosine: ``alpha = cos(a(t)) / cos(a(0))``, angle ``a(t) = pi/2 (t + offset)/(1 + offset)``.

    Nichol & Dhariwal (arXiv 2102.09672). offset >= 0; alpha vanishes at t = 1, so sampling starts at t = 0.999.
    """

    offset: ArrayLike = 0.008
    t_start: float = struct.field(pytree_node=False, default=T_OPEN)

    def _angle(self, t: ArrayLike) -> Array:
        return 0.5 * jnp.pi * (_float(t) + self.offset) / (1.0 + self.offset)

    def alpha(self, t: ArrayLike) -> Array:
        rounded = jnp.cos(self._angle(t))  # below 0 by round-off at t = 1, where the gradient is still wanted
        return (rounded - jax.lax.stop_gradient(jnp.minimum(rounded, 0.0))) / jnp.cos(self._angle(0.0))

    def sigma(self, t: ArrayLike) -> Array:
        start, now = self._angle(0.0), self._angle(t)
        # now - start by itself: of two angles that are rounded apart the difference at t = 0 may be other than 0.
        turned = 0.5 * jnp.pi * _float(t) / (1.0 + self.offset)
        # 1 - alpha^2 = sin(now - start) sin(now + start) / cos(start)^2: exact 0 at t = 0, no cancellation near it.
        return safe_sqrt(jnp.maximum(jnp.sin(turned) * jnp.sin(now + start), 0.0)) / jnp.cos(start)

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        log_snr = _float(log_snr)
        start = self._angle(0.0)
        sin_now = jnp.sqrt(jnp.sin(start) ** 2 + jnp.cos(start) ** 2 * jax.nn.sigmoid(-log_snr))
        cos_now = jnp.cos(start) * jnp.sqrt(jax.nn.sigmoid(log_snr))
        return jnp.arctan2(sin_now, cos_now) * 2.0 / jnp.pi * (1.0 + self.offset) - self.offset


@struct.dataclass
class VPTruncatedCosine(_Path):
    """Variance preserving cosine cut at a log-SNR: ``alpha = cos(a t)``, ``sigma = sin(a t)``, tan a = e^(-low/2).

    The process of Ho & Salimans (arXiv 2207.12598), whose log-SNR is -2 log tan(a t); alpha stays positive, so sampling
    starts at t = 1, where the log-SNR is ``log_snr_min``.
    """

    log_snr_min: ArrayLike = -20.0

    @property
    def _span(self) -> Array:
        return jnp.arctan(jnp.exp(-0.5 * _float(self.log_snr_min)))

    def alpha(self, t: ArrayLike) -> Array:
        # cos(a t) as the sine of its complement, which keeps its digits where it is small.
        return jnp.sin(jnp.arctan(jnp.exp(0.5 * _float(self.log_snr_min))) + self._span * (1.0 - _float(t)))

    def sigma(self, t: ArrayLike) -> Array:
        return jnp.sin(self._span * _float(t))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        return jnp.arctan(jnp.exp(-0.5 * _float(log_snr))) / self._span


@struct.dataclass
class VPPolynomial(_Path):
    """Variance preserving polynomial: ``alpha^2 = (1 - floor) (1 - t^2)^2 + floor``, ``sigma^2 = 1 - alpha^2``.

    The process of molecules in Hoogeboom et al. (arXiv 2203.17003, "polynomial_2"), but with alpha = 1 at t = 0, where
    theirs keeps noise of variance ``floor``. 0 < floor < 1; it is alpha^2 at t = 1.
    """

    floor: ArrayLike = 1e-5

    def alpha(self, t: ArrayLike) -> Array:
        t2 = _float(t) ** 2
        # (1 - floor) u + floor as u + floor (1 - u), which is 1 at t = 0 to the last bit.
        return jnp.sqrt((1.0 - t2) ** 2 + _float(self.floor) * t2 * (2.0 - t2))

    def sigma(self, t: ArrayLike) -> Array:
        t = _float(t)
        return t * jnp.sqrt((1.0 - _float(self.floor)) * (2.0 - t**2))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        log_snr, span = _float(log_snr), 1.0 - _float(self.floor)
        left = jnp.maximum((jax.nn.sigmoid(log_snr) - _float(self.floor)) / span, 0.0)  # (1 - t^2)^2
        return jnp.sqrt(jax.nn.sigmoid(-log_snr) / span / (1.0 + jnp.sqrt(left)))


@struct.dataclass
class VE(_Path):
    """Variance exploding: ``alpha = 1``, ``sigma = sigma_min sqrt((sigma_max/sigma_min)^(2t) - 1)``.

    The perturbation kernel of Song et al. (arXiv 2011.13456); 0 < sigma_min < sigma_max in units of the data.
    """

    sigma_min: ArrayLike = 0.01
    sigma_max: ArrayLike = 50.0

    def alpha(self, t: ArrayLike) -> Array:
        return jnp.ones_like(_float(t))

    def sigma(self, t: ArrayLike) -> Array:
        growth = 2.0 * jnp.log(self.sigma_max / jnp.asarray(self.sigma_min))
        return _float(self.sigma_min) * safe_sqrt(jnp.expm1(growth * _float(t)))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        growth = 2.0 * jnp.log(self.sigma_max / jnp.asarray(self.sigma_min))
        return jnp.log1p(jnp.exp(-_float(log_snr)) / _float(self.sigma_min) ** 2) / growth


@struct.dataclass
class EDM(_Path):
    """Karras et al. (arXiv 2206.00364): ``alpha = 1``, ``sigma = sigma_max t``; sigma_max > 0 in units of the data."""

    sigma_max: ArrayLike = 80.0

    def alpha(self, t: ArrayLike) -> Array:
        return jnp.ones_like(_float(t))

    def sigma(self, t: ArrayLike) -> Array:
        return _float(self.sigma_max) * _float(t)

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        return jnp.exp(-0.5 * _float(log_snr)) / self.sigma_max


@struct.dataclass
class RectifiedFlow(_Path):
    """Straight path ``alpha = 1 - t``, ``sigma = t`` (Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747).

    alpha vanishes at t = 1, so sampling starts at t = 0.999.
    """

    t_start: float = struct.field(pytree_node=False, default=T_OPEN)

    def alpha(self, t: ArrayLike) -> Array:
        return 1.0 - _float(t)

    def sigma(self, t: ArrayLike) -> Array:
        return _float(t)

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        return jax.nn.sigmoid(-0.5 * _float(log_snr))


@struct.dataclass
class Discrete(_Path):
    """A table ``alphas_cumprod`` of T entries; node k sits at ``t = (k + 1) / T`` exactly, ``t = 0`` has alpha = 1.

    Between nodes log alpha is linear in t; alpha is, where it falls to 0 at the last node (zero terminal SNR). Build it
    with `from_alphas_cumprod`.
    """

    log_alpha: Float[Array, " T+1"]
    """log alpha at t = 0, 1/T, ..., 1; starts at 0 and decreases, to -inf if the last node has no signal."""

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
        log_alpha = 0.5 * jax.nn.log_sigmoid(_float(log_snr))
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
    nodes = _float(t) * num_nodes
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
        return Discrete(_float(np.concatenate([[0.0], 0.5 * np.log(table)])))


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


def _float(x: ArrayLike) -> Array:
    """``x`` as a floating array of at least float32."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(jnp.result_type(float) if x.dtype.kind != "f" else x.dtype, jnp.float32))
