"""A linear reward with a wanted value, for gradient guidance."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_numbers
from tfg_jax.domains.base import Spec
from tfg_jax.kinds import public


@struct.dataclass
class Linear:
    """``g^T x0 - y``, the gap to the wanted value y of the linear reward; build it with `linear`."""

    noisy = False
    crosses_zero = True  # 0 is what is wanted of it

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """The target must be (g, y) of shapes (num_samples, *shape) and (num_samples,), finite when concrete."""
        if not isinstance(target, tuple | list) or len(target) != 2:
            raise ValueError("target must be (g, y): a gradient and a wanted value for each sample")
        needed = [("g", (num_samples, *each)) for each in Spec.of(shape).shapes] + [("y", (num_samples,))]
        given = [target[0], target[1]] if isinstance(shape, tuple) else jax.tree.leaves(tuple(target))
        if len(given) != len(needed):
            raise ValueError(f"target's g holds {len(given) - 1} arrays, samples {len(needed) - 1}; give as many")
        for (name, expected), value in zip(needed, given, strict=True):
            if np.shape(value) != expected:
                raise ValueError(f"target's {name} has shape {np.shape(value)}, {expected} is needed; one a sample")
            check_numbers(f"target's {name}", value)

    def __call__(self, x0: PyTree, target: Any) -> Float[Array, ""]:
        g, y = target
        if hasattr(x0, "shape"):
            return jnp.sum(jnp.asarray(g) * x0) - jnp.asarray(y)
        return sum(jax.tree.leaves(jax.tree.map(lambda g, x: jnp.sum(g * x), g, x0))) - jnp.asarray(y)


@public
def linear() -> Linear:
    """The objective ``g^T x0 - y`` with target ``(g, y)``, g (n, *shape) and y (n,): the wanted value is 0.

    To linearize a reward f at z and ask for its value v, give ``g = grad f(z)`` and ``y = v - f(z) + g^T z``.
    """
    return Linear()
