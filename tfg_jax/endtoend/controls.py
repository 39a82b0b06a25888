"""Control optimization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax import ode_diffrax, struct
from tfg_jax.checks import MAX_STEPS
from tfg_jax.declare import child, choice, count, number, static
from tfg_jax.endtoend.source import ITERATIONS, LINE_SEARCH, OPTIMIZER, RATE, TOLERANCE, EndToEnd
from tfg_jax.lookahead import Conditioned
from tfg_jax.ode import (
    Points,
    Remat,
    Tableau,
    by_scan,
    margin_of,
    move,
    points_at,
    scan_steps,
    slope_of,
    tableau_of,
)
from tfg_jax.result import Cost
from tfg_jax.schedules import Level

Kind = Literal["additive", "kick"]


@struct.dataclass
class Controls(EndToEnd):
    """Control optimization: OC-Flow (Wang et al., arXiv 2410.18070) and FlowGrad (Liu et al., CVPR 2023).

        additive  y' = y + h (v(y, s) + z_i),             penalty (weight / 2) sum_i h_i ||z_i||^2
        kick      y~ = y + d_i, y' = y~ + h v(y~, s),     penalty (weight / 2) sum_i ||d_i||^2

    in the straight-line coordinates of `tfg_jax.ode`, on the sampler's own time grid, h_i its steps in s. Gradients are
    those of the discrete solve: with a_i the costate of state i, dL/dz_i = h_i a_{i+1} + weight h_i z_i (Euler), and
    dL/dd_i = a_i + weight d_i: derivatives in each control, not the response to a constant shift of the field.
    With a diffrax solver the same discrete solve, its slope made to jump between the steps.
    Cost an evaluation: stages * steps forwards and pullbacks, 1 objective gradient; one solve more for the result.
    Reduces to: `Euler` (DDIM at eta = 0) from the same noise at controls of 0.

    @inproceedings{liu2023flowgrad,
      title = {{FlowGrad}: Controlling the Output of Generative {ODEs} with Gradients},
      author = {Liu, Xingchao and Wu, Lemeng and Zhang, Shujian and Gong, Chengyue and Ping, Wei and Liu, Qiang},
      booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
      year = {2023},
    }

    @article{wang2024ocflow,
      title = {Training Free Guided Flow Matching with Optimal Control},
      author = {Wang, Luran and Cheng, Chaoran and Liao, Yizhen and Qu, Yanru and Liu, Ge},
      journal = {arXiv:2410.18070},
      year = {2024},
    }
    """

    steps: int = count(default=20, high=MAX_STEPS, help="steps of the solve")
    kind: Kind = choice(
        default="additive", help="additive to the flow's velocity (OC-Flow), or a kick of the state (FlowGrad)"
    )
    weight: ArrayLike = number(default=0.0, low=0.0, help="weight of the control cost")
    iterations: int = count(default=10, help=ITERATIONS)
    tolerance: ArrayLike = number(default=1e-6, low=0.0, help=TOLERANCE)
    optimizer: Any = static(default=None, help=OPTIMIZER)
    line_search: int | None = count(default=None, help=LINE_SEARCH)
    solver: Any = static(
        default="euler", flag=str, help="euler (the sampler's own), midpoint, heun, ralston, a Tableau, or of diffrax"
    )
    grid: Any = child(default=None, help="where the steps are placed; None is Uniform")
    remat: Remat | None = choice(default=None, help="what the gradient of a scan keeps, as in TruncatedSolve; step")
    adjoint: Any = static(default=None, help="of diffrax solvers: RecursiveCheckpointAdjoint (None) or DirectAdjoint")
    rate: ArrayLike | None = number(default=None, low=0.0, help=RATE)

    def check(self) -> None:
        """Raise ValueError for solvers or adjoints that cannot serve; see `EndToEnd.check`."""
        EndToEnd.check(self)
        ode_diffrax.check_solver(self.solver, self.adjoint, self.remat, self.steps)
        if not by_scan(self.solver):
            ode_diffrax.check_jumps(self.adjoint)

    @property
    def _policy(self) -> Remat:
        return "step" if self.remat is None else self.remat

    @property
    def _counts(self) -> tuple[Cost, int]:
        """Calls of one solve and its pullback, and the forwards that the pullback repeats."""
        if not by_scan(self.solver):
            return ode_diffrax.cost(self.solver, self.adjoint, self.steps, jumps=True)
        calls = tableau_of(self.solver).stages * self.steps
        return Cost(forwards=calls, pullbacks=calls), 0 if self._policy == "none" else calls

    @property
    def closure(self) -> Cost:
        """Calls of one loss with its gradient."""
        solve, repeated = self._counts
        return Cost(forwards=solve.forwards + repeated, pullbacks=solve.pullbacks, objective=1)

    @property
    def final(self) -> Cost:
        """Calls of the result."""
        return Cost(forwards=self._counts[0].forwards)

    def problem(
        self, denoise: Conditioned, levels: Level, z: Array
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
        """The first variable, and a variable's sample with its penalty."""
        steps = self.steps

        def solve(controls: Array) -> tuple[Array, Array]:
            start = (levels.scale[0] / (levels.alpha[0] + levels.sigma[0])).astype(z.dtype) * z
            if by_scan(self.solver):
                y = controlled(denoise, start, levels, controls, self.kind, tableau_of(self.solver), self._policy)
            else:
                y = controlled_by_diffrax(denoise, start, levels, controls, self.kind, self.solver, self.adjoint)
            lengths = 1.0 if self.kind == "kick" else jnp.diff(levels.s).astype(z.dtype)
            squares = jnp.sum(controls.reshape(steps, -1) ** 2, axis=-1)
            penalty = 0.5 * self.weight * jnp.sum(lengths * squares)
            return (levels.alpha[-1] + levels.sigma[-1]).astype(z.dtype) * y, jnp.asarray(penalty, z.dtype)

        return jnp.zeros((steps, *z.shape), z.dtype), solve


def controlled(
    denoise: Conditioned, y: Float[Array, "*shape"], levels: Level, controls: Float[Array, "steps *shape"],
    kind: Kind, tableau: Tableau, remat: Remat,
) -> Float[Array, "*shape"]:  # fmt: skip
    """The barred state at the end of the solve over ``levels`` (steps + 1 of them) under the controls."""
    dtype = y.dtype
    now = jax.tree.map(lambda a: a[:-1], levels)
    gap = (levels.sigma / (levels.alpha + levels.sigma)).astype(dtype)
    lengths, s = gap[:-1] - gap[1:], now.s.astype(dtype)
    floor = margin_of(denoise.schedule, dtype)
    inside = lengths[:, None] * jnp.asarray(tableau.c, dtype).reshape(1, -1)
    at_step = lambda t, s, gap, moved: points_at(denoise.schedule, t, s, gap, moved, floor)  # noqa: E731
    inner = jax.vmap(at_step)(now.t, s, gap[:-1], inside)
    start = Points(now.t, (now.alpha + now.sigma).astype(dtype))

    def step(y: Array, at: tuple) -> tuple[Array, None]:
        length, start, inner, control = at
        kick, push = (control, 0.0) if kind == "kick" else (0.0, control)

        def slope(y: Array, point: Points) -> Array:
            return slope_of(denoise(point.scale * y, point.t)).astype(dtype) + push

        y = y + kick
        later = lambda y, i: slope(y, jax.tree.map(lambda a: a[i], inner))  # noqa: E731
        return move(tableau, y, slope(y, start), later, length), None

    return scan_steps(step, y, (lengths, start, inner, controls), remat)


def controlled_by_diffrax(
    denoise: Conditioned, y: Float[Array, "*shape"], levels: Level, controls: Float[Array, "steps *shape"],
    kind: Kind, solver: Any, adjoint: Any,
) -> Float[Array, "*shape"]:  # fmt: skip
    """As `controlled`, by a diffrax solver. Kicks are a shifted argument of the slope, and a shift at the end."""
    dtype = y.dtype
    gap = (levels.sigma / (levels.alpha + levels.sigma)).astype(dtype)
    starts = (levels.t[:-1], levels.s[:-1].astype(dtype), gap[:-1])
    kicks = jnp.cumsum(controls, axis=0) if kind == "kick" else None
    y = ode_diffrax.solve_with_jumps(
        denoise, denoise.schedule, starts, gap[:-1] - gap[1:], y, kicks, None if kind == "kick" else controls,
        margin_of(denoise.schedule, dtype), solver, adjoint,
    )  # fmt: skip
    return y if kicks is None else y + kicks[-1]
