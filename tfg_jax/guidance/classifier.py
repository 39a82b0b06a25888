"""Classifier guidance with a time-dependent classifier."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.declare import Needs, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Method, Next, StepContext


@struct.dataclass
class ClassifierGuidance(Method):
    """Time-dependent classifier guidance (Dhariwal & Nichol, NeurIPS 2021, arXiv 2105.05233).

        eps' = eps - strength sigma grad_{x_t} f(x_t, t),  x_next = rule(x0(eps'), eps')

    The classifier is trained on noisy samples and sees x_t itself: no denoised estimate, no network pullback, no
    lookahead. Its objective f is one of noisy samples, e.g. `noisy_class_log_prob`.
    Cost a step: 1 network forward, no pullback, 1 objective gradient.
    Reduces to: the exact conditional score when the classifier is exact and strength = 1.

    @inproceedings{dhariwal2021beat,
      title = {Diffusion Models Beat {GANs} on Image Synthesis},
      author = {Dhariwal, Prafulla and Nichol, Alex},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2021},
      eprint = {2105.05233}, archiveprefix = {arXiv},
    }
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="the classifier's scale, dimensionless; 1 is Bayes' rule")
    needs = Needs(gradients=1, objective="noisy", eps=True)

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        edit = self.strength * ctx.now.sigma * jax.grad(ctx.noisy_objective)(ctx.x)
        eps = ctx.denoised.eps - edit
        return ctx.advance(Denoised((ctx.x - ctx.now.sigma * eps) / ctx.now.alpha, eps), edit)
