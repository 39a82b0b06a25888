"""Universal guided diffusion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.declare import Needs, count, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Method, Next, StepContext


@struct.dataclass
class UGD(Method):
    """Universal guided diffusion: both guidances, as edits of eps (Bansal et al., ICLR 2024, arXiv 2302.07121).

        eps'    = eps - strength sigma' grad_{x_t} f(x0) - sqrt(abar / (1 - abar)) Delta_0
        Delta_0 = from 0, n_iter - 1 times  Delta_0 + strength grad f(x0 + Delta_0)
        x_next  = rule(x0(eps'), eps')

    in VP coordinates, repeated n_recur times with re-noising in between. The first of the n_iter iterations is the
    gradient through the network.
    Cost a step and recurrence: 1 network forward, 1 pullback, max(n_iter - 1, 1) objective gradients.
    Reduces to: TFG only up to the factors of its two terms; classifier guidance's form of edit.

    @inproceedings{bansal2024ugd,
      title = {Universal Guidance for Diffusion Models},
      author = {Bansal, Arpit and Chu, Hong-Min and Schwarzschild, Avi and Sengupta, Soumyadip and Goldblum, Micah and
                Geiping, Jonas and Goldstein, Tom},
      booktitle = {International Conference on Learning Representations},
      year = {2024},
      eprint = {2302.07121}, archiveprefix = {arXiv},
    }
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="step size of both guidances")
    n_iter: int = count(default=4, help="iterations: one through the network, n_iter - 1 at the denoised estimate")
    n_recur: int = count(default=1, help="recurrences of each step")

    @property
    def needs(self) -> Needs:
        """One pullback; the gradient at x0 serves both guidances."""
        return Needs(pullbacks=1, gradients=max(self.n_iter - 1, 1), eps=True)

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        gradient_at = jax.grad(ctx.objective)
        x0, pullback = ctx.lookahead()
        gradient = ctx.gradient(x0)
        delta = jnp.zeros_like(x0)
        if self.n_iter > 1:
            delta = self.strength * gradient
            body = lambda _, delta: delta + self.strength * gradient_at(x0 + delta)  # noqa: E731
            delta = jax.lax.fori_loop(0, self.n_iter - 2, body, delta)
        # In VP coordinates grad_{x/k} = k grad_x, so sigma' grad_{x/k} = sigma grad_x.
        far = self.strength * ctx.now.sigma * pullback(gradient)
        eps = ctx.denoised.eps - far - ctx.now.alpha / ctx.now.sigma * delta
        return ctx.advance(Denoised((ctx.x - ctx.now.sigma * eps) / ctx.now.alpha, eps), (far, delta))
