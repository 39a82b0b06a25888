"""A point of the path, what a schedule is, and the base of schedules."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.declare import Declared

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


class Path(Declared):
    """Base of schedules: a subclass writes ``alpha``, ``sigma`` and ``t_of_log_snr``."""

    table = "schedules"
    t_start: Any = 1.0

    def alpha(self, t: ArrayLike) -> Array:
        """Signal scale at time ``t`` in [0, 1], any shape: 1 at t = 0, never below 0."""
        raise TypeError(f"{type(self).__name__} does not say its alpha(t)")

    def sigma(self, t: ArrayLike) -> Array:
        """Noise scale at time ``t`` in [0, 1], any shape: 0 at t = 0, increasing relative to alpha."""
        raise TypeError(f"{type(self).__name__} does not say its sigma(t)")

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        """The time in [0, 1] at which ``log(alpha^2 / sigma^2)`` is ``log_snr``, any shape."""
        raise TypeError(f"{type(self).__name__} does not say its t_of_log_snr(log_snr)")

    def level(self, t: ArrayLike) -> Level:
        """The path's point at time ``t`` in [0, 1], any shape."""
        t = as_float(t)
        return Level(t, self.alpha(t), self.sigma(t))

    def log_snr(self, t: ArrayLike) -> Array:
        """``log(alpha^2 / sigma^2)`` at time ``t``; decreasing in t, +inf at t = 0."""
        return self.level(t).log_snr

    def t_of_s(self, s: ArrayLike) -> Array:
        """The time whose straight-line coordinate ``alpha / (alpha + sigma)`` is ``s`` in (0, 1]."""
        s = as_float(s)
        return self.t_of_log_snr(2.0 * (jnp.log(s) - jnp.log1p(-s)))


def check_start(t_start: Any) -> None:
    """Raise ValueError unless sampling starts in (0, 1]."""
    if not 0.0 < t_start <= 1.0:
        raise ValueError(f"t_start={t_start} must lie in (0, 1]; {T_OPEN} is the default, as alpha is 0 at 1")


def as_float(x: ArrayLike) -> Array:
    """``x`` as a floating array of at least float32."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(jnp.result_type(float) if x.dtype.kind != "f" else x.dtype, jnp.float32))
