"""How a strength is spread over the steps (TFG, Ye et al., arXiv 2409.15761, section 3).

    increase  a_t / a_next          decrease  1 - a_t / a_next          constant  1          with a = abar

each multiplied by ``strength * steps / sum``: the mean over the chosen steps is the strength, so another grid spreads
it differently.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax.schedules import Level

Structure = Literal["increase", "decrease", "constant"]


def spread(strength: ArrayLike, structure: Structure, levels: Level) -> Float[Array, " steps"]:
    """Per-step strengths whose mean is ``strength``.

    Args:
        strength: the mean strength, a number.
        structure: "increase" (more towards the clean end), "decrease" or "constant".
        levels: the grid's steps + 1 levels, noisy to clean.
    """
    shape = step_alpha(levels)
    match structure:
        case "decrease":
            shape = 1.0 - shape
        case "constant":
            shape = jnp.ones_like(shape)
    return jnp.asarray(strength) * shape * (shape.size / jnp.sum(shape))


def step_alpha(levels: Level) -> Float[Array, " steps"]:
    """The paper's alpha of each sampling step: ``abar_t / abar_next``, in (0, 1]."""
    abar = levels.abar
    return abar[:-1] / abar[1:]
