"""Denoised estimates that look further than one Tweedie step: part or all of the ODE solve, or a learned map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import ode, struct
from tfg_jax.checks import MAX_STEPS, check_numbers, is_concrete
from tfg_jax.declare import Declared, child, choice, count, number, static
from tfg_jax.denoiser import Denoised
from tfg_jax.lookahead import Estimate, Evaluation, Tweedie
from tfg_jax.ode.scan import Remat
from tfg_jax.result import Cost
from tfg_jax.schedules import Level

Jacobian = Literal["full", "denoiser", "identity"]


@struct.dataclass
class Reach(Declared):
    """A horizon that varies over the steps: looks as far as the straight-line time ``s``, not a share of what is left.

    The bias of the gradient depends on where the solve ends alone, so a fixed end spreads it evenly over the steps.

    Cite: TruncatedSolve
    """

    s: ArrayLike = number(low=0.0, high=1.0, help="where the solve ends; from cleaner levels it is Tweedie")

    def __call__(self, s: Array) -> Array:
        """The horizon at straight-line time ``s``."""
        left = jnp.maximum(1.0 - s, 1e-6)
        return jnp.clip((jnp.asarray(self.s, s.dtype) - s) / left, 0.0, 1.0)


@struct.dataclass
class TruncatedSolve(Estimate):
    """The denoised estimate by an ODE solve over part of what is left, then Tweedie (arXiv 2502.08006).

        s_tau = s + horizon (1 - s)
        x0    = D(Psi_{s -> s_tau}(x), s_tau)

    in the straight-line time s of `tfg_jax.ode`: the solve Psi goes a share ``horizon`` of what is left, and Tweedie's
    estimate, one long Euler step, goes the rest; gradients go through both. A horizon of 0 is Tweedie (greedy guidance,
    DPS), 1 the whole solve (end-to-end guidance), 1/2 with one Euler step the "2-step Euler" of Blasingame and Liu. The
    horizon itself is this library's own parametrization of what lies between. Every horizon makes the same number of
    network calls, 0 as well: for greedy guidance `Tweedie` is the cheap one.
    Cost an evaluation: with a scan solver stages * steps + 1 forwards (one of them the sampler's own), as many
    pullbacks.
    Reduces to: `Tweedie` at horizon = 0.

    @inproceedings{blasingame2025greed,
      title = {Greed is Good: A Unifying Perspective on Guided Generation},
      author = {Blasingame, Zander W. and Liu, Chen},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2025},
      eprint = {2502.08006}, archiveprefix = {arXiv},
    }
    """

    horizon: ArrayLike | Callable[[Array], Array] | None = number(
        default=1.0, low=0.0, high=1.0,
        help="share of what is left, or a pytree s -> horizon such as Reach; None: all without a Tweedie step, `whole`",
    )  # fmt: skip
    steps: int = count(default=4, high=MAX_STEPS, help="steps of the solve, equal in s")
    solver: Any = static(
        default="midpoint", flag=str,
        help="euler, midpoint, heun, ralston, a Tableau, or an explicit one of diffrax, which costs one forward more",
    )  # fmt: skip
    adjoint: Any = static(
        default=None, help="of diffrax solvers: RecursiveCheckpointAdjoint (None), DirectAdjoint or BacksolveAdjoint"
    )
    remat: Remat = choice(
        default="none",
        help="what a scan keeps for the gradient: all, or the states alone, which repeats the forwards",
    )
    jacobian: Jacobian = choice(
        default="full", help="the pullback: through all, through D at (x, t) alone, or as if the estimate were x"
    )
    margin: ArrayLike | None = number(
        default=None, low=0.0, high=1.0,
        help="how close to data the network is called, in 1 - s; None is 1e-3 in float32, 1e-5 in float64, or a node",
    )  # fmt: skip

    @classmethod
    def whole(cls, steps: int = 1, solver: Any = "midpoint", **options: Any) -> TruncatedSolve:
        """The whole solve with no Tweedie step at its end; one midpoint step is the paper's "Greedy (midpoint)".

        Args:
            steps: steps of the solve, >= 1.
            solver: as the class's.
            **options: adjoint, remat, jacobian, margin.
        """
        return cls(None, steps, solver, **options)

    @property
    def by_scan(self) -> bool:
        """Whether the solve is our own scan, not diffrax."""
        return ode.by_scan(self.solver)

    def check(self) -> None:
        """Raise ValueError for a horizon(s) outside [0, 1], and for solvers or adjoints that cannot serve."""
        if callable(self.horizon):
            sampled = self._sampled_horizon()
            if np.shape(sampled)[1:] != ():
                raise ValueError(f"horizon(s) has shape {np.shape(sampled)[1:]} at one s, one number is needed")
            check_numbers("horizon", sampled, low=0.0, high=1.0)
        for name, value, none in (("remat", self.remat, "none"), ("adjoint", self.adjoint, None)):
            if self.jacobian != "full" and value != none:
                raise ValueError(f"{name} has no effect with jacobian={self.jacobian!r}; drop it, or use 'full'")
        self._check_solver(forward_mode=True)

    def check_run(self) -> None:
        """Raise ValueError for an adjoint without a pullback, which `tfg_jax.diagnose_horizon` alone can use."""
        self._check_solver(forward_mode=False)

    def _check_solver(self, *, forward_mode: bool) -> None:
        remat = None if self.remat == "none" else self.remat
        ode.check(self.solver, self.adjoint, remat, self.steps, forward_mode=forward_mode)

    def _sampled_horizon(self) -> Any:
        if not all(is_concrete(leaf) for leaf in jax.tree.leaves(self.horizon)):
            return None
        with jax.ensure_compile_time_eval():
            return np.asarray(jax.vmap(self.horizon)(jnp.linspace(0.0, 0.99, 12)))  # type: ignore[arg-type]

    @property
    def _adjoint(self) -> Any:
        return self.remat if self.by_scan else self.adjoint

    @property
    def _counts(self) -> tuple[Cost, int]:
        """Calls of the solve with the sampler's own and its tail, and the forwards that its pullback repeats."""
        return ode.cost(self.solver, self._adjoint, self.steps, first=True, tail=self.horizon is not None)

    @property
    def cost(self) -> Cost:
        """Calls of one evaluation and of one pullback."""
        counts, _ = self._counts
        pullbacks = {"full": counts.pullbacks, "denoiser": 1, "identity": 0}[self.jacobian]
        return Cost(forwards=counts.forwards, pullbacks=pullbacks)

    @property
    def recomputed(self) -> int:
        """Forwards that one pullback repeats."""
        return self._counts[1] if self.jacobian == "full" else 0

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        """The evaluation of one sample ``x`` at ``level``."""
        if self.jacobian == "full":
            x0, vjp, denoised = jax.vjp(lambda x: self.estimate(denoise, x, level), x, has_aux=True)
            return Evaluation(denoised, x0, lambda cotangent: vjp(cotangent)[0])
        if self.jacobian == "denoiser":
            denoised, _, pullback = Tweedie()(denoise, x, level)
        else:
            denoised, pullback = denoise(x, level.t), lambda cotangent: cotangent
        return Evaluation(denoised, self.estimate(denoise, x, level, denoised)[0], pullback)

    def estimate(
        self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level, denoised: Denoised | None = None
    ) -> tuple[Array, Denoised]:
        """The denoised estimate and the denoiser's own output at (x, t) (``denoised``, if it is known already)."""
        schedule = getattr(denoise, "schedule", None)
        if schedule is None:
            raise ValueError("TruncatedSolve needs the denoiser's schedule; pass a `tfg_jax.lookahead.Conditioned`")
        denoised = denoise(x, level.t) if denoised is None else denoised
        scale = (level.alpha + level.sigma).astype(x.dtype)
        margin = ode.margin_of(schedule, x.dtype, self.margin)
        span = self._span(level, (level.sigma / (level.alpha + level.sigma)).astype(x.dtype), margin)
        grid = ode.equal_steps(schedule, level, span, self.steps, margin)
        y, last = ode.solve(
            ode.ProbabilityFlow(denoise), x / scale, grid, self.solver, self._adjoint,
            first=denoised, tail=self.horizon is not None,
        )  # fmt: skip
        if last is None:
            return y, denoised
        # A solve over nothing is Tweedie to the bit; its gradient in the horizon is kept.
        still = jax.lax.stop_gradient(denoised.x0) + (last.x0 - jax.lax.stop_gradient(last.x0))
        return jnp.where(span > 0, last.x0, still), denoised

    def _span(self, level: Level, gap: Array, margin: Array) -> Array:
        """Length of the solve in s: a share of what is left, not closer to data than ``margin``."""
        if self.horizon is None:
            return gap
        s = (level.alpha / (level.alpha + level.sigma)).astype(gap.dtype)
        share = self.horizon(s) if callable(self.horizon) else self.horizon
        span = jnp.asarray(share, gap.dtype) * gap
        span = jnp.where(span < gap - margin, span, gap - margin)
        return jnp.where(span < 0, 0.0, span)


@struct.dataclass
class FlowMap(Estimate):
    """A learned map from noisy to clean in one call, such as a consistency model or a distilled flow map.

    Cost an evaluation: 2 forwards (the denoiser's, which the sampler advances with, and the map's) and 1 pullback, the
    map's.
    """

    fn: Callable[[PyTree, Array, Level, Any], Array] = static(
        help="(params, x, level, cond) -> x0 of one sample; define it once, at module level"
    )
    params: PyTree = child(default=None, help="its weights, any pytree")
    cost = Cost(forwards=2, pullbacks=1)

    def __call__(self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level) -> Evaluation:
        """The evaluation of one sample ``x`` at ``level``."""
        cond = getattr(denoise, "cond", None)
        x0, vjp = jax.vjp(lambda x: self.fn(self.params, x, level, cond), x)
        return Evaluation(denoise(x, level.t), x0, lambda cotangent: vjp(cotangent)[0])

    def estimate(
        self, denoise: Callable[[Array, ArrayLike], Denoised], x: Array, level: Level
    ) -> tuple[Array, Denoised]:
        """The denoised estimate, and the denoiser's own output."""
        return self.fn(self.params, x, level, getattr(denoise, "cond", None)), denoise(x, level.t)
