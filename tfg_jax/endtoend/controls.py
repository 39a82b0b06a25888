"""Control optimization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import ode, struct
from tfg_jax.checks import MAX_STEPS
from tfg_jax.declare import child, choice, count, number, static
from tfg_jax.endtoend.source import ITERATIONS, LINE_SEARCH, OPTIMIZER, RATE, TOLERANCE, EndToEnd
from tfg_jax.lookahead import Conditioned
from tfg_jax.ode.scan import Remat
from tfg_jax.result import Cost
from tfg_jax.schedules import Level

Kind = Literal["additive", "kick"]


@struct.dataclass
class Controls(EndToEnd):
    """Control optimization: OC-Flow (Wang et al., arXiv 2410.18070) and FlowGrad (Liu et al., CVPR 2023).

        additive  y' = y + h (v(y, s) + z_i),             penalty (weight / 2) sum_i h_i ||z_i||^2
        kick      y~ = y + d_i, y' = y~ + h v(y~, s),     penalty (weight / 2) sum_i ||d_i||^2

    in the straight-line coordinates of `tfg_jax.ode`, on the sampler's own time grid, h_i its steps in s: a field with
    an input at each step, for kicks the sum of those so far, by which its argument is shifted. Gradients are those of
    the discrete solve: with a_i the costate of state i, dL/dz_i = h_i a_{i+1} + weight h_i z_i (Euler), and
    dL/dd_i = a_i + weight d_i: derivatives in each control, not the response to a constant shift of the field.
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
        ode.check(self.solver, self.adjoint, self.remat, self.steps, jumps=True)

    @property
    def _adjoint(self) -> Any:
        return (self.remat or "step") if ode.by_scan(self.solver) else self.adjoint

    @property
    def _counts(self) -> tuple[Cost, int]:
        """Calls of one solve and its pullback, and the forwards that the pullback repeats."""
        return ode.cost(self.solver, self._adjoint, self.steps, jumps=True)

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
        dtype, kicks = z.dtype, self.kind == "kick"
        ends = (levels.alpha + levels.sigma).astype(dtype)
        grid = ode.steps_between(denoise.schedule, levels, ode.margin_of(denoise.schedule, dtype))
        field = ControlledFlow(ode.ProbabilityFlow(denoise), self.kind)

        def solve(controls: Array) -> tuple[Array, Array]:
            start = (levels.scale[0] / (levels.alpha[0] + levels.sigma[0])).astype(dtype) * z
            inputs = jnp.cumsum(controls, axis=0) if kicks else controls
            y, _ = ode.solve(field, start, grid, self.solver, self._adjoint, inputs=inputs)
            squares = jnp.sum(controls.reshape(self.steps, -1) ** 2, axis=-1)
            penalty = 0.5 * self.weight * jnp.sum((1.0 if kicks else jnp.diff(levels.s).astype(dtype)) * squares)
            return ends[-1] * (y + inputs[-1] if kicks else y), jnp.asarray(penalty, dtype)

        return jnp.zeros((self.steps, *z.shape), dtype), solve


@struct.dataclass
class ControlledFlow:
    """The field under controls: ``v(y, s) + control``, or ``v(y + control, s)`` for the sum of the kicks so far."""

    flow: ode.ProbabilityFlow
    kind: Kind = struct.field(pytree_node=False)

    def __call__(self, y: Array, point: ode.Point, control: Array) -> Array:
        """The velocity at the barred state ``y``."""
        if self.kind == "kick":
            return ode.velocity(self.flow(y + control, point))
        return ode.velocity(self.flow(y, point)).astype(y.dtype) + control
