"""Gradient guidance for optimization (Guo et al., NeurIPS 2024, arXiv 2404.14743): naive G and look-ahead G_loss.

With the objective's value f and gradient g at the denoised estimate, r = -f(x0) and v = grad_{x_t}(g^T x0) (one
pullback):

    score <- score + G       that is  eps' = eps - sigma G,  x0' = x0 + sigma^2 / alpha G,  x_next = rule(x0', eps')
    G      = beta r g             paper:     beta = alpha / (noise^2 + sigma^2 |g|^2)                         naive
    G_loss = 2 beta r v           paper:   2 beta = alpha^2 / (alpha^2 noise^2 + sigma^2 |v|^2)               look-ahead
                                  exact:   2 beta = 1 / (noise^2 + sigma^2 / alpha g^T v)

in VP coordinates. "paper" assumes that the data's covariance is the identity (naive) or a projection (look-ahead);
"exact" makes G_loss the score of ``y = g^T x_0 + noise z`` given x_t for every Gaussian. The objective is a gap, of
which 0 is wanted: `tfg_jax.objectives.linear` is ``g^T x0 - y`` with target (g, y), the paper's linearized reward.
The guidance fades where |g| (naive) or |v| / alpha (look-ahead) is of the order of noise or smaller.
Cost a step: 1 network forward, 1 pullback (naive: none), 1 objective gradient.
Reduces to: TFG's variance guidance with energy -f^2 and strength beta, which enters through the score.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Next, StepContext, value_and_gradient
from tfg_jax.result import Cost
from tfg_jax.schedules import Level

NOISE_STD = 0.1
"""The published standard deviation of the reward's noise."""


@struct.dataclass
class NaiveGradientGuidance:
    """The gradient itself as guidance; with a learned network samples leave the data's support. See the module.

    Attributes:
        noise_std: standard deviation of the reward's noise, > 0 (traced), in units of the reward; None is 0.1.
        beta: "paper" is the formula, "constant" the number ``beta_coef`` at every level.
        beta_coef: multiplies the formula, >= 0 (traced); 0 is no guidance.
    """

    noise_std: ArrayLike | None = None
    beta: Literal["paper", "constant"] = struct.field(pytree_node=False, default="paper")
    beta_coef: ArrayLike = 1.0
    n_recur = 1
    needs_signal = True

    def check(self) -> None:
        """Raise ValueError for a bad strength, and for a noise_std that a constant beta would not use."""
        check_choice("beta", self.beta, ("paper", "constant"))
        _check_strength(self)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, _ = ctx.lookahead()
        value, g = value_and_gradient(ctx.objective, x0)
        beta = self.beta_coef
        if self.beta == "paper":
            root = jnp.sqrt(ctx.now.abar)
            beta = beta * root / (_variance(self) + ctx.now.noise_share * _squared(g))
        # sigma' G with sigma' = sigma / scale: what is taken from eps.
        shift = -jnp.asarray(beta * value * jnp.sqrt(ctx.now.noise_share), g.dtype) * g
        return _advance(ctx, shift), state


@struct.dataclass
class GradientGuidance:
    """Look-ahead gradient guidance G_loss, which stays in a linear subspace that holds the data. See the module.

    Attributes:
        noise_std: standard deviation of the reward's noise, > 0 (traced), in units of the reward; None is 0.1.
        beta: "paper" or "exact" is the formula, "constant" the number ``beta_coef`` at every level.
        beta_coef: multiplies the formula, >= 0 (traced); 0 is no guidance.
    """

    noise_std: ArrayLike | None = None
    beta: Literal["paper", "exact", "constant"] = struct.field(pytree_node=False, default="paper")
    beta_coef: ArrayLike = 1.0
    n_recur = 1
    needs_signal = True

    def check(self) -> None:
        """Raise ValueError for a bad strength, and for a noise_std that a constant beta would not use."""
        check_choice("beta", self.beta, ("paper", "exact", "constant"))
        _check_strength(self)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step."""
        return Cost(forwards=evaluation.forwards, pullbacks=evaluation.pullbacks, objective=1)

    def prepare(self, levels: Level) -> tuple[None, None]:
        """Nothing varies over the steps."""
        return None, None

    def step(self, ctx: StepContext, per_step: None, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        now = ctx.now
        x0, pullback = ctx.lookahead()
        value, g = value_and_gradient(ctx.objective, x0)
        v = now.scale * pullback(g)  # the gradient in VP coordinates
        match self.beta:
            case "paper":
                # Numerator and denominator over alpha^2, which is tiny at the noisy end.
                beta = 1.0 / (_variance(self) + now.noise_share * _squared(v / jnp.sqrt(now.abar)))
            case "exact":
                # A network's Jacobian need not be positive; the variance g^T V g it stands for is.
                spread = jnp.maximum(jnp.sum(g * v), 0.0)
                beta = 1.0 / (_variance(self) + now.noise_share / jnp.sqrt(now.abar) * spread)
            case _:
                beta = 2.0
        shift = -jnp.asarray(self.beta_coef * beta * value * jnp.sqrt(now.noise_share), v.dtype) * v
        return _advance(ctx, shift), state


def noise_std_of(guidance: NaiveGradientGuidance | GradientGuidance) -> ArrayLike | None:
    """The standard deviation of the reward's noise that a method uses; None for a constant beta, which uses none."""
    if guidance.beta == "constant":
        return None
    return NOISE_STD if guidance.noise_std is None else guidance.noise_std


def _check_strength(guidance: NaiveGradientGuidance | GradientGuidance) -> None:
    check_number("noise_std", guidance.noise_std, low=0.0, strict=True)
    check_number("beta_coef", guidance.beta_coef, low=0.0)
    if guidance.beta == "constant" and guidance.noise_std is not None:
        raise ValueError(
            f'noise_std={guidance.noise_std} has no effect with beta="constant"; drop it and set beta_coef'
        )


def _variance(guidance: NaiveGradientGuidance | GradientGuidance) -> Array:
    std = jnp.asarray(NOISE_STD if guidance.noise_std is None else guidance.noise_std)
    return std * std


def _squared(x: Array) -> Array:
    return jnp.sum(x * x)


def _advance(ctx: StepContext, shift: Array) -> Next:
    """The rule from ``eps - shift`` and the x0 that belongs to it; at shift = 0 both are the unguided ones, bit by bit.

    `shift` is sigma' G in VP coordinates, where eps is the same; x0 moves by ``sigma / alpha`` times it.
    """
    denoised = ctx.denoised
    x0 = denoised.x0 + (ctx.now.sigma / ctx.now.alpha * shift).astype(denoised.x0.dtype)
    return ctx.advance(Denoised(x0, denoised.eps - shift.astype(denoised.eps.dtype)), shift)
