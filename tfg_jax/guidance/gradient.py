"""Gradient guidance for optimization: the naive gradient G and the look-ahead G_loss."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.declare import Needs, choice, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Method, Next, StepContext

NOISE_STD = 0.1
"""The published standard deviation of the reward's noise."""
NOISE = "standard deviation of the reward's noise, in units of the reward; None is 0.1"


class _Formula(Method):
    """What both methods share."""

    beta: str
    noise_std: ArrayLike | None

    def check(self) -> None:
        """Raise ValueError for a noise_std that a constant beta would not use."""
        if self.beta == "constant" and self.noise_std is not None:
            raise ValueError(
                f'noise_std={self.noise_std} has no effect with beta="constant"; drop it and set beta_coef'
            )

    @property
    def _variance(self) -> Array:
        std = jnp.asarray(NOISE_STD if self.noise_std is None else self.noise_std)
        return std * std


@struct.dataclass
class NaiveGradientGuidance(_Formula):
    """The gradient itself as guidance (Guo et al., NeurIPS 2024, arXiv 2404.14743).

        eps' = eps - sigma' G,  x_next = rule(x0(eps'), eps')
        G    = -beta f g,  g = grad f(x0)
        beta = beta_coef sqrt(abar) / (noise_std^2 + (1 - abar) |g|^2)

    in VP coordinates; f is a gap, of which 0 is wanted: `tfg_jax.objectives.linear` is ``g^T x0 - y`` with target
    (g, y). "paper" assumes that the data's covariance is the identity; with a learned network samples leave the data's
    support. The guidance fades where |g| is of the order of the noise or smaller.
    Cost a step: 1 network forward, no pullback, 1 objective gradient.
    Reduces to: the exact conditional score of data N(mu, I).

    Cite: GradientGuidance
    """

    noise_std: ArrayLike | None = number(default=None, low=0.0, strict=True, help=NOISE)
    beta: Literal["paper", "constant"] = choice(
        default="paper", help='"paper" is the formula, "constant" the number beta_coef at every level'
    )
    beta_coef: ArrayLike = number(default=1.0, low=0.0, help="multiplies the formula; 0 is no guidance")
    needs = Needs(gradients=1, signal=True)

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        x0, _ = ctx.lookahead()
        g = ctx.gradient(x0)
        value = ctx.objective(x0)
        beta = self.beta_coef
        if self.beta == "paper":
            root = jnp.sqrt(ctx.now.abar)
            beta = beta * root / (self._variance + ctx.now.noise_share * _squared(g))
        # sigma' G with sigma' = sigma / scale: what is taken from eps.
        shift = -jnp.asarray(beta * value * jnp.sqrt(ctx.now.noise_share), g.dtype) * g
        return _advance(ctx, shift)


@struct.dataclass
class GradientGuidance(_Formula):
    """Look-ahead gradient guidance, which stays in a linear data subspace (Guo et al., NeurIPS 2024, arXiv 2404.14743).

        eps' = eps - sigma' G,  x_next = rule(x0(eps'), eps')
        G    = -2 beta f v,  v = grad_{x_t} (g^T x0)
        2 beta = beta_coef abar / (abar noise_std^2 + (1 - abar) |v|^2)

    in VP coordinates; f is a gap, of which 0 is wanted: `tfg_jax.objectives.linear` is ``g^T x0 - y`` with target
    (g, y), the paper's linearized reward. "paper" assumes that the data's covariance is a projection; "exact",
    ``2 beta = 1 / (noise_std^2 + (1 - abar) / sqrt(abar) g^T v)``, makes G the score of ``y = g^T x_0 + noise z`` given
    x_t for every Gaussian. The guidance fades where |v| / alpha is of the order of the noise or smaller.
    Cost a step: 1 network forward, 1 pullback, 1 objective gradient.
    Reduces to: TFG's variance guidance with energy -f^2 and strength beta, which enters through the score; "exact" is
    the exact conditional score of Gaussian data.

    @inproceedings{guo2024gradient,
      title = {Gradient Guidance for Diffusion Models: An Optimization Perspective},
      author = {Guo, Yingqing and Yuan, Hui and Yang, Yukang and Chen, Minshuo and Wang, Mengdi},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2024},
      eprint = {2404.14743}, archiveprefix = {arXiv},
    }
    """

    noise_std: ArrayLike | None = number(default=None, low=0.0, strict=True, help=NOISE)
    beta: Literal["paper", "exact", "constant"] = choice(
        default="paper", help='"paper" and "exact" are formulas, "constant" is the number beta_coef at every level'
    )
    beta_coef: ArrayLike = number(default=1.0, low=0.0, help="multiplies the formula; 0 is no guidance")
    needs = Needs(pullbacks=1, gradients=1, signal=True)

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        now = ctx.now
        x0, pullback = ctx.lookahead()
        g = ctx.gradient(x0)
        value = ctx.objective(x0)
        v = now.scale * pullback(g)  # the gradient in VP coordinates
        match self.beta:
            case "paper":
                # Numerator and denominator over alpha^2, which is tiny at the noisy end.
                beta = 1.0 / (self._variance + now.noise_share * _squared(v / jnp.sqrt(now.abar)))
            case "exact":
                # A network's Jacobian need not be positive; the variance g^T V g it stands for is.
                spread = jnp.maximum(jnp.sum(g * v), 0.0)
                beta = 1.0 / (self._variance + now.noise_share / jnp.sqrt(now.abar) * spread)
            case _:
                beta = 2.0
        shift = -jnp.asarray(self.beta_coef * beta * value * jnp.sqrt(now.noise_share), v.dtype) * v
        return _advance(ctx, shift)


def noise_std_of(guidance: NaiveGradientGuidance | GradientGuidance) -> ArrayLike | None:
    """The standard deviation of the reward's noise that a method uses; None for a constant beta, which uses none."""
    if guidance.beta == "constant":
        return None
    return NOISE_STD if guidance.noise_std is None else guidance.noise_std


def _squared(x: Array) -> Array:
    return jnp.sum(x * x)


def _advance(ctx: StepContext, shift: Array) -> Next:
    """The rule from ``eps - shift`` and the x0 that belongs to it; at shift = 0 both are the unguided ones, bit by bit.

    `shift` is sigma' G in VP coordinates, where eps is the same; x0 moves by ``sigma / alpha`` times it.
    """
    denoised = ctx.denoised
    x0 = denoised.x0 + (ctx.now.sigma / ctx.now.alpha * shift).astype(denoised.x0.dtype)
    return ctx.advance(Denoised(x0, denoised.eps - shift.astype(denoised.eps.dtype)), shift)
