"""Source optimization, and what end-to-end methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax import struct
from tfg_jax.declare import Declared, child, count, number, static
from tfg_jax.lookahead import Conditioned
from tfg_jax.result import Cost
from tfg_jax.schedules import Level
from tfg_jax.truncated import TruncatedSolve

ITERATIONS = "updates of the optimizer at most"
TOLERANCE = "stops where the gradient's root mean square is not above it"
OPTIMIZER = "any optax optimizer, made once; None is Adam where rate is given, else L-BFGS"
LINE_SEARCH = "evaluations that an L-BFGS iteration may take; 20"
RATE = "learning rate of Adam, or what scales the updates of your own optimizer"


class EndToEnd(Declared):
    """Base of methods that optimize through the whole solve: how they descend."""

    table = "end to end"
    optimizer: Any
    rate: Any
    line_search: Any

    @property
    def searches(self) -> bool:
        """Whether it descends by L-BFGS, whose line search finds each step."""
        return self.optimizer is None and self.rate is None

    def check(self) -> None:
        """Raise ValueError for a line search that nothing makes, and an optimizer that is none of optax."""
        if self.line_search is not None and not self.searches:
            owner = "rate" if self.optimizer is None else "optimizer"
            raise ValueError(
                f"line_search={self.line_search} is of L-BFGS, which {owner} replaces; drop it, or drop {owner}"
            )
        if self.optimizer is not None and not (hasattr(self.optimizer, "init") and hasattr(self.optimizer, "update")):
            raise ValueError(f"optimizer={self.optimizer!r} is not an optax optimizer; pass e.g. optax.adam(1e-2)")


@struct.dataclass
class DFlow(EndToEnd):
    """Source optimization: the noise that a solve starts from (Ben-Hamu et al., ICML 2024, arXiv 2402.14017).

        minimize over z  -f(x0(scale z)) + regularizer R(z)
        R(z) = ||z||^2 / 2 - (d - 1) log ||z||

    z is the first state in units of its standard deviation, R the negative log-density of its norm (chi with d degrees
    of freedom): least at ||z|| = sqrt(d - 1). The sign of its log term is printed wrongly in places and copied from
    there.
    Cost an evaluation: the lookahead's forwards and pullbacks, 1 objective gradient; one evaluation more for the
    result.
    Reduces to: the unguided flow from the same noise at a step size of 0.

    @inproceedings{benhamu2024dflow,
      title = {{D-Flow}: Differentiating through Flows for Controlled Generation},
      author = {Ben-Hamu, Heli and Puny, Omri and Gat, Itai and Karrer, Brian and Singer, Uriel and Lipman, Yaron},
      booktitle = {International Conference on Machine Learning},
      year = {2024},
    }
    """

    solve: TruncatedSolve = child(
        default=TruncatedSolve(1.0, steps=8, remat="step"), help="the way from noise to data, all of it at horizon 1"
    )
    iterations: int = count(default=10, help=ITERATIONS)
    regularizer: ArrayLike | None = number(default=None, low=0.0, help="weight of R; None leaves it out")
    tolerance: ArrayLike = number(default=1e-6, low=0.0, help=TOLERANCE)
    optimizer: Any = static(default=None, help=OPTIMIZER)
    line_search: int | None = count(default=None, help=LINE_SEARCH)
    rate: ArrayLike | None = number(default=None, low=0.0, help=RATE)
    renamed: ClassVar = {"regulariser": "regularizer"}

    def check(self) -> None:
        """Raise ValueError for a solve that does not reach the source; see `EndToEnd.check`."""
        if self.solve.jacobian != "full":
            raise ValueError(f"solve.jacobian={self.solve.jacobian!r} does not reach the source; use 'full'")
        self.solve.check_run()
        EndToEnd.check(self)

    @property
    def closure(self) -> Cost:
        """Calls of one loss with its gradient."""
        evaluation = self.solve.cost
        return Cost(forwards=evaluation.forwards + self.solve.recomputed, pullbacks=evaluation.pullbacks, objective=1)

    @property
    def final(self) -> Cost:
        """Calls of the result."""
        return Cost(forwards=self.solve.cost.forwards)

    def problem(
        self, denoise: Conditioned, levels: Level, z: Array
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
        """The first variable, and a variable's sample with its penalty."""
        first = jax.tree.map(lambda a: a[0].astype(z.dtype), levels)

        def solve(z: Array) -> tuple[Array, Array]:
            x0, _ = self.solve.estimate(denoise, first.scale * z, first)
            penalty = 0.0 if self.regularizer is None else self.regularizer * chi_energy(z, denoise.dimension)
            return x0, jnp.asarray(penalty, z.dtype)

        return z, solve


def chi_energy(z: Float[Array, "*shape"], dimension: Any = None) -> Float[Array, ""]:
    """``R(z) = ||z||^2 / 2 - (d - 1) log ||z||``, least at ``||z|| = sqrt(d - 1)``; d is the number of free entries."""
    square = jnp.sum(z**2)
    return 0.5 * square - 0.5 * ((z.size if dimension is None else dimension) - 1) * jnp.log(square)
