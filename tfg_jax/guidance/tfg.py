"""The TFG design space: variance and mean guidance, smoothing, recurrence (Ye et al., NeurIPS 2024, arXiv 2409.15761).

    f~(y)    = log mean_j exp f(y + delta_j),   delta_j = smoothing sqrt(1 - a_t) z_j     drawn once per recurrence
    Delta_t  = rho_t grad_{x_t} f~(x0(x_t))                                               variance guidance
    Delta_0  : n_iter times  Delta_0 <- Delta_0 + mu_t grad f~(x0 + Delta_0)              mean guidance
    x_next   = rule(x_t, x0) + Delta_t / sqrt(a_t / a_next) + sqrt(a_next) Delta_0        (a = abar, VP coordinates)

repeated n_recur times with re-noising in between. rho_t and mu_t are spread over the steps by their structure.
Cost a step and recurrence: 1 network forward, 1 pullback (0 if rho is None), n_mc max(n_iter, 1) objective gradients,
since the gradient at x0 serves as the cotangent of Delta_t and as the first step of Delta_0.
Reduces to: no guidance at rho = mu = None; the published methods as in `tfg_jax.guidance.special_cases`.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_count, check_number
from tfg_jax.guidance.base import Next, StepContext, smoothed
from tfg_jax.guidance.strengths import STRUCTURES, Structure, spread, step_alpha
from tfg_jax.result import Cost
from tfg_jax.schedules import Level


@struct.dataclass
class PerStep:
    """One step's rho_t / sqrt(a_t / a_next), mu_t and standard deviation of the smoothing; None where absent."""

    rho: Array | None
    mu: Array | None
    smoothing: Array | None


@struct.dataclass
class TFG:
    """Training-free guidance with all its parts; a part that is None is not computed.

    Attributes:
        rho: mean variance-guidance strength, >= 0 (traced); None compiles no network pullback.
        mu: mean mean-guidance strength, >= 0 (traced); None leaves it out.
        smoothing: the paper's gamma-bar, >= 0 (traced), in units of the data; None leaves it out.
        n_iter: mean-guidance iterations, >= 1; default 4 when mu is given.
        n_mc: smoothing draws, >= 1; default 1 when smoothing is given.
        n_recur: recurrences, >= 1.
        rho_structure, mu_structure: "increase" (default), "decrease" or "constant" over the steps.
        smoothing_structure: "decrease" (default) scales smoothing by sqrt(1 - abar), "constant" does not.
    """

    rho: ArrayLike | None = 1.0
    mu: ArrayLike | None = 0.25
    smoothing: ArrayLike | None = None
    n_iter: int | None = struct.field(pytree_node=False, default=None)
    n_mc: int | None = struct.field(pytree_node=False, default=None)
    n_recur: int = struct.field(pytree_node=False, default=1)
    rho_structure: Structure | None = struct.field(pytree_node=False, default=None)
    mu_structure: Structure | None = struct.field(pytree_node=False, default=None)
    smoothing_structure: Literal["decrease", "constant"] | None = struct.field(pytree_node=False, default=None)

    def check(self) -> None:
        """Raise ValueError for negative or NaN strengths, bad counts, and options that cannot have an effect."""
        for name, value in (("rho", self.rho), ("mu", self.mu), ("smoothing", self.smoothing)):
            check_number(name, value, low=0.0)
        check_count("n_recur", self.n_recur)
        for name, owner, value in (
            ("n_iter", "mu", self.n_iter),
            ("n_mc", "smoothing", self.n_mc),
            ("rho_structure", "rho", self.rho_structure),
            ("mu_structure", "mu", self.mu_structure),
            ("smoothing_structure", "smoothing", self.smoothing_structure),
        ):
            if value is not None and getattr(self, owner) is None:
                raise ValueError(f"{name}={value!r} has no effect with {owner}=None; give {owner} or drop {name}")
        if self.smoothing is not None and self.rho is None and self.mu is None:
            raise ValueError("smoothing has no effect with rho=None and mu=None; give one of them or drop smoothing")
        for name, count in (("n_iter", self.n_iter), ("n_mc", self.n_mc)):
            if count is not None:
                check_count(name, count)
        check_choice("rho_structure", self.rho_structure or "increase", STRUCTURES)
        check_choice("mu_structure", self.mu_structure or "increase", STRUCTURES)
        check_choice("smoothing_structure", self.smoothing_structure or "decrease", ("decrease", "constant"))

    @property
    def _iterations(self) -> int:
        return 0 if self.mu is None else (self.n_iter or 4)

    def cost(self, evaluation: Cost) -> Cost:
        """Calls per step and recurrence."""
        if self.rho is None and self.mu is None:
            return Cost(forwards=evaluation.forwards)
        draws = 1 if self.smoothing is None else (self.n_mc or 1)
        pullbacks = 0 if self.rho is None else evaluation.pullbacks
        return Cost(forwards=evaluation.forwards, pullbacks=pullbacks, objective=draws * max(self._iterations, 1))

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
        gradient = gradient_at(x0)
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
