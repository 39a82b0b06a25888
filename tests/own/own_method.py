"""A guidance method of one's own, in one file."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.declare import count, number
from tfg_jax.guidance.base import Method


@struct.dataclass
class BoundedSteps(Method):
    """Gradient guidance whose step has a bounded length.

        x_next = rule(x0, eps) + strength g / (1 + |g|),    g = grad_{x_t} f(x0)

    in VP coordinates.
    Cost a step and recurrence: 1 network forward, 1 pullback, 1 objective gradient.
    Reduces to: no guidance at strength = 0.

    @misc{nobody2026bounded,
      title = {Bounded Steps},
      author = {Nobody},
      year = {2026},
    }
    """

    strength: ArrayLike = number(default=0.5, low=0.0, help="length of a long step")
    n_recur: int = count(default=1, help="recurrences of each step")

    def step(self, ctx):
        x0, pullback = ctx.lookahead()
        g = ctx.now.scale * pullback(jax.grad(ctx.objective)(x0))  # in VP coordinates, where lengths mean the same
        length = jnp.sqrt(jnp.sum(g * g) + 1e-12)
        return ctx.advance(ctx.denoised).shifted(ctx.next.scale * self.strength * g / (1.0 + length))
