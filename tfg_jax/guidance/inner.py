"""Posterior guidance by inner iterations (Blasingame and Liu, NeurIPS 2025, arXiv 2502.08006, "greedy" at horizon 0).

    n_inner times   x <- x + strength opt(grad_x f(x0(x)))        at the sampler's state, in VP coordinates
    x_next = rule(x, D(x))

The optimizer's state lives through the iterations of one step and starts anew at the next, whose scale is another. With
a `TruncatedSolve` the gradient looks as far ahead as its horizon says: 1 optimizes each state through the whole solve.
Cost a step: n_inner looks, pullbacks and objective gradients, and 1 network forward.
Reduces to: no guidance at strength = 0; one iteration is FreeDoM's gradient applied before the rule instead of after.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.lookahead import ForwardOnly
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class InnerSteps:
    """Inner iterations at each state.

    Attributes:
        strength: step size, >= 0, dimensionless (traced).
        n_inner: iterations, >= 1.
        optimizer: any optax optimizer without a line search, made once, e.g. ``optax.adam(1.0)``; None is plain
            gradient ascent.
    """

    strength: ArrayLike = 1.0
    n_inner: int = struct.field(pytree_node=False, default=3)
    optimizer: Any = struct.field(pytree_node=False, default=None)
    n_recur = 1

    def check(self) -> None:
        """Raise ValueError for a bad strength, count or optimizer."""
        check_number("strength", self.strength, low=0.0)
        check_count("n_inner", self.n_inner)
        if self.optimizer is not None and not (hasattr(self.optimizer, "init") and hasattr(self.optimizer, "update")):
            raise ValueError(f"optimizer={self.optimizer!r} is not an optax optimizer; pass e.g. optax.adam(1.0)")

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        each = Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=1)
        return each * self.n_inner + Cost(forwards=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        optimizer, scale = self.optimizer, ctx.now.scale

        def improved(there: StepContext, memory: Any) -> tuple[Array, Any]:
            x0, pullback = there.lookahead()
            updates: Any = scale * pullback(jax.grad(ctx.objective)(x0))
            if optimizer is not None:  # optax descends
                updates, memory = optimizer.update(-updates, memory, there.x / scale)
            return there.x + (scale * self.strength * updates).astype(there.x.dtype), memory

        # The first iteration is at the sampler's own state, whose look is shared with whatever else asks for it.
        first = improved(ctx, None if optimizer is None else optimizer.init(jnp.zeros_like(ctx.x)))
        x, _ = jax.lax.fori_loop(0, self.n_inner - 1, lambda _, now: improved(ctx.at(now[0]), now[1]), first)
        there = ctx.at(x, ForwardOnly())
        return there.advance(there.denoised, x - ctx.x), state
