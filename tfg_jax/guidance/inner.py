"""Posterior guidance by inner iterations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.declare import Needs, count, number, static
from tfg_jax.guidance.base import Method, Next, StepContext
from tfg_jax.lookahead import ForwardOnly


@struct.dataclass
class InnerSteps(Method):
    """Posterior guidance by inner iterations (Blasingame and Liu, NeurIPS 2025, arXiv 2502.08006).

        n_inner times x_t = x_t + strength opt(grad_{x_t} f(x0(x_t)))
        x_next = rule(x0, eps) of the new x_t

    at the sampler's state, in VP coordinates; the paper's "greedy" at horizon 0. The optimizer's state lives through
    the iterations of one step and starts anew at the next, whose scale is another. With a `TruncatedSolve` the gradient
    looks as far ahead as its horizon says: 1 optimizes each state through the whole solve.
    Cost a step: n_inner evaluations, pullbacks and objective gradients, and 1 network forward.
    Reduces to: no guidance at strength = 0; one iteration is FreeDoM's gradient applied before the rule instead of
    after.

    Cite: TruncatedSolve
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="step size, dimensionless")
    n_inner: int = count(default=3, help="iterations")
    optimizer: Any = static(
        default=None,
        help="any optax optimizer without a line search, made once, e.g. optax.adam(1.0); None is plain ascent",
    )
    needs = Needs(evaluations="n_inner", pullbacks="n_inner", gradients="n_inner", forwards=1)

    def check(self) -> None:
        """Raise ValueError for an optimizer that is none of optax."""
        if self.optimizer is not None and not (hasattr(self.optimizer, "init") and hasattr(self.optimizer, "update")):
            raise ValueError(f"optimizer={self.optimizer!r} is not an optax optimizer; pass e.g. optax.adam(1.0)")

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        optimizer, scale = self.optimizer, ctx.now.scale

        def improved(there: StepContext, memory: Any) -> tuple[Array, Any]:
            x0, pullback = there.lookahead()
            updates: Any = scale * pullback(jax.grad(ctx.objective)(x0))
            if optimizer is not None:  # optax descends
                updates, memory = optimizer.update(-updates, memory, there.x / scale)
            return there.x + (scale * self.strength * updates).astype(there.x.dtype), memory

        # The first iteration is at the sampler's own state, whose evaluation is shared with whatever else asks for it.
        first = improved(ctx, None if optimizer is None else optimizer.init(jnp.zeros_like(ctx.x)))
        x, _ = jax.lax.fori_loop(0, self.n_inner - 1, lambda _, now: improved(ctx.at(now[0]), now[1]), first)
        there = ctx.at(x, ForwardOnly())
        return there.advance(there.denoised, x - ctx.x)
