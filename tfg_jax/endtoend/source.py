"""Source optimization (D-Flow, Ben-Hamu et al., ICML 2024, arXiv 2402.14017): the noise a solve starts from.

    minimize over z   -f(x0(scale z)) + regularizer R(z),       R(z) = ||z||^2 / 2 - (d - 1) log ||z||

z is the first state in units of its standard deviation, R the negative log-density of its norm (chi with d degrees of
freedom): least at ||z|| = sqrt(d - 1). The sign of its log term is printed wrongly in places and copied from there.
Cost an evaluation: the lookahead's forwards and pullbacks, 1 objective gradient; one evaluation more for the result.
Reduces to: the unguided flow from the same noise at ``iterations`` of nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number
from tfg_jax.lookahead import Conditioned
from tfg_jax.result import Cost
from tfg_jax.schedules import Level
from tfg_jax.truncated import TruncatedSolve


@struct.dataclass
class DFlow:
    """Source optimization.

    Attributes:
        solve: the way from noise to data; its horizon is 1 for the whole way.
        iterations: updates of the optimizer at most, >= 1.
        regularizer: weight of R, >= 0 (traced); None leaves it out.
        tolerance: stops where the gradient's root mean square is not above it, >= 0 (traced).
        optimizer: any optax optimizer, made once (a fresh one compiles anew); None is Adam where rate is given, else
            L-BFGS.
        line_search: evaluations an L-BFGS iteration may take, >= 1; default 20.
        rate: learning rate of Adam, or what scales the updates of your own optimizer, >= 0 (traced): a sweep of step
            sizes compiles once.
    """

    solve: TruncatedSolve = TruncatedSolve(1.0, steps=8, remat="step")
    iterations: int = struct.field(pytree_node=False, default=10)
    regularizer: ArrayLike | None = None
    tolerance: ArrayLike = 1e-6
    optimizer: Any = struct.field(pytree_node=False, default=None)
    line_search: int | None = struct.field(pytree_node=False, default=None)
    rate: ArrayLike | None = None

    def check(self) -> None:
        """Raise ValueError for bad counts or weights, and for a solve that cannot serve."""
        self.solve.check()
        if self.solve.jacobian != "full":
            raise ValueError(f"solve.jacobian={self.solve.jacobian!r} does not reach the source; use 'full'")
        check_number("regularizer", self.regularizer, low=0.0)
        check_descent(self)

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


def searches(method: Any) -> bool:
    """Whether an end-to-end method descends by L-BFGS, whose line search finds each step."""
    return method.optimizer is None and method.rate is None


def check_descent(method: Any) -> None:
    """The arguments of the descent that all end-to-end methods share."""
    check_count("iterations", method.iterations)
    check_number("tolerance", method.tolerance, low=0.0)
    check_number("rate", method.rate, low=0.0)
    if method.line_search is not None:
        check_count("line_search", method.line_search)
        owner = "rate" if method.optimizer is None else "optimizer"
        if not searches(method):
            raise ValueError(
                f"line_search={method.line_search} is of L-BFGS, which {owner} replaces; drop it, or drop {owner}"
            )
    if method.optimizer is not None and not (hasattr(method.optimizer, "init") and hasattr(method.optimizer, "update")):
        raise ValueError(f"optimizer={method.optimizer!r} is not an optax optimizer; pass e.g. optax.adam(1e-2)")
