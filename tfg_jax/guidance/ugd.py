"""Universal guided diffusion (UGD, Bansal et al., ICLR 2024, arXiv 2302.07121): both guidances, as edits of eps.

    eps'    = eps - strength sigma' grad_{x_t} f(x0(x_t)) - sqrt(a / (1 - a)) Delta_0         (a = abar, VP coordinates)
    Delta_0 : from 0, n_iter - 1 times  Delta_0 <- Delta_0 + strength grad f(x0 + Delta_0)
    x_next  = rule(x_t, x0(eps'), eps'),          repeated n_recur times with re-noising in between

The first of the n_iter iterations is the gradient through the network.
Cost a step and recurrence: 1 network forward, 1 pullback, max(n_iter - 1, 1) objective gradients.
Reduces to: TFG only up to the factors of its two terms; classifier guidance's form of edit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class UGD:
    """Universal guided diffusion.

    Attributes:
        strength: step size of both guidances, >= 0 (traced).
        n_iter: iterations, >= 1: one through the network, n_iter - 1 at the denoised estimate.
        n_recur: recurrences, >= 1.
    """

    strength: ArrayLike = 1.0
    n_iter: int = struct.field(pytree_node=False, default=4)
    n_recur: int = struct.field(pytree_node=False, default=1)
    needs_signal = True

    def check(self) -> None:
        """Raise ValueError for a bad strength or count."""
        check_number("strength", self.strength, low=0.0)
        check_count("n_iter", self.n_iter)
        check_count("n_recur", self.n_recur)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step and recurrence."""
        return Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=max(self.n_iter - 1, 1))

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        gradient_at = jax.grad(ctx.objective)
        x0, pullback = ctx.lookahead()
        gradient = gradient_at(x0)
        delta = jnp.zeros_like(x0)
        if self.n_iter > 1:
            delta = self.strength * gradient
            body = lambda _, delta: delta + self.strength * gradient_at(x0 + delta)  # noqa: E731
            delta = jax.lax.fori_loop(0, self.n_iter - 2, body, delta)
        # In VP coordinates grad_{x/k} = k grad_x, so sigma' grad_{x/k} = sigma grad_x.
        far = self.strength * ctx.now.sigma * pullback(gradient)
        eps = ctx.denoised.eps - far - ctx.now.alpha / ctx.now.sigma * delta
        x0_edited = (ctx.x - ctx.now.sigma * eps) / ctx.now.alpha
        return ctx.advance(Denoised(x0_edited, eps), (far, delta)), state
