"""The TFG design space: variance and mean guidance, smoothing, recurrence."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.declare import Needs, choice, count, number
from tfg_jax.guidance.base import Method, Next, StepContext, smoothed
from tfg_jax.guidance.strengths import Structure, spread, step_alpha
from tfg_jax.schedules import Level


@struct.dataclass
class PerStep:
    """One step's rho_t / sqrt(a_t / a_next), mu_t and standard deviation of the smoothing; None where absent."""

    rho: Array | None
    mu: Array | None
    smoothing: Array | None


OWNERS = {
    "n_iter": "mu", "n_mc": "smoothing",
    "rho_structure": "rho", "mu_structure": "mu", "smoothing_structure": "smoothing",
}  # fmt: skip
"""Settings of TFG and the term that each belongs to."""


@struct.dataclass
class TFG(Method):
    """Training-free guidance with all its parts (Ye et al., NeurIPS 2024, arXiv 2409.15761).

        f~(y)    = log mean_j exp f(y + smoothing sqrt(1 - abar_t) z_j)
        Delta_t  = rho_t grad_{x_t} f~(x0)
        Delta_0  = from 0, n_iter times  Delta_0 + mu_t grad f~(x0 + Delta_0)
        x_next   = rule(x0, eps) + Delta_t / sqrt(a) + sqrt(abar_next) Delta_0

    in VP coordinates, a = abar_t / abar_next, repeated n_recur times with re-noising in between. The n_mc draws z_j are
    drawn once per recurrence; rho_t and mu_t are spread over the steps by their structure. A part that is None is not
    computed. The gradient at x0 serves as the cotangent of Delta_t and as the first step of Delta_0.
    Cost a step and recurrence: 1 network forward, 1 pullback (0 if rho is None), n_mc max(n_iter, 1) objective
    gradients.
    Reduces to: no guidance at rho = mu = None; the published methods as in `tfg_jax.guidance.special_cases`.

    @inproceedings{ye2024tfg,
      title = {{TFG}: Unified Training-Free Guidance for Diffusion Models},
      author = {Ye, Haotian and Lin, Haowei and Han, Jiaqi and Xu, Minkai and Liu, Sheng and Liang, Yitao and
                Ma, Jianzhu and Zou, James and Ermon, Stefano},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2024},
      eprint = {2409.15761}, archiveprefix = {arXiv},
    }
    """

    rho: ArrayLike | None = number(
        default=1.0, low=0.0, help="mean strength of variance guidance; None compiles no network pullback"
    )
    mu: ArrayLike | None = number(default=0.25, low=0.0, help="mean strength of mean guidance; None leaves it out")
    smoothing: ArrayLike | None = number(
        default=None, low=0.0, help="the paper's gamma-bar, in units of the data; None leaves it out"
    )
    n_iter: int | None = count(default=None, help="iterations of mean guidance; 4 when mu is given")
    n_mc: int | None = count(default=None, help="draws of the smoothing; 1 when smoothing is given")
    n_recur: int = count(default=1, help="recurrences of each step")
    rho_structure: Structure | None = choice(default=None, help="how rho is spread over the steps; increase")
    mu_structure: Structure | None = choice(default=None, help="how mu is spread over the steps; increase")
    smoothing_structure: Literal["decrease", "constant"] | None = choice(
        default=None, help="decrease scales smoothing by sqrt(1 - abar), constant does not; decrease"
    )

    def check(self) -> None:
        """Raise ValueError for options that cannot have an effect."""
        for name, owner in OWNERS.items():
            value = getattr(self, name)
            if value is not None and getattr(self, owner) is None:
                raise ValueError(f"{name}={value!r} has no effect with {owner}=None; give {owner} or drop {name}")
        if self.smoothing is not None and self.rho is None and self.mu is None:
            raise ValueError("smoothing has no effect with rho=None and mu=None; give one of them or drop smoothing")

    @property
    def _iterations(self) -> int:
        return 0 if self.mu is None else (self.n_iter or 4)

    @property
    def needs(self) -> Needs:
        """What the parts that are there need."""
        if self.rho is None and self.mu is None:
            return Needs(acts=False)
        draws = 1 if self.smoothing is None else (self.n_mc or 1)
        return Needs(pullbacks=int(self.rho is not None), gradients=draws * max(self._iterations, 1))

    def prepare(self, levels: Level) -> tuple[PerStep, None]:
        """Strengths spread over the whole grid."""
        rho = mu = width = None
        if self.rho is not None:
            kept = step_alpha(levels)  # 0 from a level without signal, of which x0 does not depend on x
            rho = spread(self.rho, self.rho_structure or "increase", levels)
            rho = jnp.where(kept > 0, rho / jnp.sqrt(jnp.where(kept > 0, kept, 1.0)), 0.0)
        if self.mu is not None:
            mu = spread(self.mu, self.mu_structure or "increase", levels)
        if self.smoothing is not None:
            share = levels.noise_share[:-1]
            shape = jnp.ones_like(share) if self.smoothing_structure == "constant" else jnp.sqrt(share)
            width = jnp.asarray(self.smoothing) * shape
        return PerStep(rho, mu, width), None

    def step(self, ctx: StepContext, per_step: PerStep, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        if self.rho is None and self.mu is None:
            return ctx.advance(ctx.denoised), state
        deltas = None if per_step.smoothing is None else per_step.smoothing * ctx.noise.mc(self.n_mc or 1)
        gradient_at = jax.grad(smoothed(ctx.objective, deltas))
        x0, pullback = ctx.lookahead()
        gradient = ctx.gradient(x0) if deltas is None else gradient_at(x0)
        proposal = ctx.advance(ctx.denoised)
        if per_step.rho is not None:
            proposal = proposal.shifted(per_step.rho * ctx.vp_shift(pullback(gradient)))
        if per_step.mu is not None:
            proposal = proposal.shifted(ctx.next.alpha * self._mean_shift(gradient_at, x0, gradient, per_step.mu))
        return proposal, state

    def _mean_shift(self, gradient_at: PyTree, x0: Array, gradient: Array, mu: Array) -> Array:
        first = mu * gradient
        later = self._iterations - 1
        if later == 0:
            return first
        return jax.lax.fori_loop(0, later, lambda _, delta: delta + mu * gradient_at(x0 + delta), first)
