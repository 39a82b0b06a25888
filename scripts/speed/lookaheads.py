"""Gradients through a lookahead, as they are timed."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from tfg_jax.lookahead import Conditioned


def full_gradient(model: Any, lookahead: Any) -> Callable[[Array], Array]:
    """The gradient of the mean square of the denoised estimate, through the whole lookahead, batched."""

    def one(x: Array) -> Array:
        seen = lookahead(Conditioned(model), x, model.schedule.level(0.9))
        return seen.pullback(2.0 * seen.x0 / seen.x0.size)

    return jax.jit(jax.vmap(one))
