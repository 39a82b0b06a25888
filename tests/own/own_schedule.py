"""A schedule of one's own, in one file."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.declare import number
from tfg_jax.schedules import Path


@struct.dataclass
class Bent(Path):
    """A straight path run through at another pace: ``alpha = 1 - u``, ``sigma = u``, ``u = last t^power``.

    Cite: RectifiedFlow
    """

    power: ArrayLike = number(default=1.5, low=1.0, help="of time")
    last: ArrayLike = number(default=0.999, low=0.0, high=1.0, strict=True, help="u at t = 1")

    def alpha(self, t):
        return 1.0 - self.sigma(t)

    def sigma(self, t):
        return self.last * jnp.asarray(t) ** self.power

    def t_of_log_snr(self, log_snr):
        return (jax.nn.sigmoid(-0.5 * jnp.asarray(log_snr)) / self.last) ** (1.0 / self.power)
