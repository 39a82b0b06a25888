"""Classifier guidance with a time-dependent classifier (Dhariwal & Nichol, NeurIPS 2021, arXiv 2105.05233).

    eps' = eps - strength sigma grad_{x_t} log p(target | x_t, t),         x_next = rule(x_t, x0(eps'), eps')

The classifier is trained on noisy samples and sees x_t itself: no denoised estimate, no network pullback, no lookahead.
Cost a step: 1 network forward, no pullback, 1 objective gradient.
Reduces to: the exact conditional score when the classifier is exact and strength = 1.
"""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class ClassifierGuidance:
    """Time-dependent classifier guidance; its objective is one of noisy samples, e.g. `noisy_class_log_prob`.

    Attributes:
        strength: the classifier's scale, >= 0, dimensionless (traced); 1 is Bayes' rule.
    """

    strength: ArrayLike = 1.0
    n_recur = 1
    noisy = True  # its objective sees the noisy sample
    needs_signal = True

    def check(self) -> None:
        """Raise ValueError for a bad strength."""
        check_number("strength", self.strength, low=0.0)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        edit = self.strength * ctx.now.sigma * jax.grad(ctx.noisy_objective)(ctx.x)
        eps = ctx.denoised.eps - edit
        return ctx.advance(Denoised((ctx.x - ctx.now.sigma * eps) / ctx.now.alpha, eps), edit), state
