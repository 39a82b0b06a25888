"""Gradients of an objective: by autodiff, or estimated from its values alone.

    Autodiff       grad f(x)                                                               1 objective gradient a point
    Antithetic     mean_j u_j (f(x + r u_j) - f(x - r u_j)) / (2 r),   u_j ~ N(0, I)       2 directions values a point
    LeastSquares   argmin_{c, g} sum_i (f(z_i) - c - g^T (z_i - zbar))^2 + ridge |g|^2     the batch's own values only

The antithetic estimate is unbiased for quadratic f and has relative squared error about D / directions. The least
squares fit needs no further value; with fewer samples than dimensions it is the smallest g that fits, which lies in the
span of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax import struct
from tfg_jax.batch import map_samples
from tfg_jax.checks import check_count, check_number
from tfg_jax.kinds import public
from tfg_jax.objectives.base import check_leading


@runtime_checkable
class Gradient(Protocol):
    """A way to the objective's gradient at points."""

    def check(self, objective: Any) -> None:
        """Raise ValueError for arguments that cannot be meant, or an objective this way cannot take."""
        ...

    def __call__(
        self, key: PRNGKeyArray, objective: Any, points: Array, target: PyTree, seen: tuple[Array, Array]
    ) -> Array:
        """Gradients at ``points`` (m, *shape) with their targets; ``seen`` holds the batch and its values."""
        ...


@struct.dataclass
class Autodiff:
    """The gradient by automatic differentiation."""

    def check(self, objective: Any) -> None:
        """Raise ValueError for an objective of values only."""
        if isinstance(objective, FromValues):
            raise ValueError("gradient=Autodiff cannot differentiate from_values; use Antithetic() or LeastSquares()")

    def __call__(
        self, key: PRNGKeyArray, objective: Any, points: Array, target: PyTree, seen: tuple[Array, Array]
    ) -> Array:
        return map_samples(lambda at: jax.grad(objective)(at[0], at[1]), (points, target))


@struct.dataclass
class Antithetic:
    """Central differences along random directions.

    Attributes:
        directions: number of pairs a point, >= 1.
        radius: step, > 0, in units of the data (traced).
    """

    directions: int = struct.field(pytree_node=False, default=64)
    radius: ArrayLike = 0.01

    def check(self, objective: Any) -> None:
        """Raise ValueError for a bad count or radius."""
        check_count("directions", self.directions)
        check_number("radius", self.radius, low=0.0, strict=True)

    def __call__(
        self, key: PRNGKeyArray, objective: Any, points: Array, target: PyTree, seen: tuple[Array, Array]
    ) -> Array:
        def one(at: tuple) -> Array:
            x, target, index = at
            u = jax.random.normal(jax.random.fold_in(key, index), (self.directions, *x.shape), x.dtype)
            value = jax.vmap(lambda x: objective(x, target))
            radius = jnp.asarray(self.radius, x.dtype)
            rise = (value(x + radius * u) - value(x - radius * u)) / (2.0 * radius)
            return jnp.tensordot(rise, u, 1) / self.directions

        return map_samples(one, (points, target, jnp.arange(len(points))))


@struct.dataclass
class LeastSquares:
    """One linear fit to the whole batch, shared by all points.

    Attributes:
        ridge: > 0, relative to the batch's mean squared deviation (traced); keeps directions that the batch does not
            show at gradient 0.
    """

    ridge: ArrayLike = 1e-3

    def check(self, objective: Any) -> None:
        """Raise ValueError for a bad ridge."""
        check_number("ridge", self.ridge, low=0.0, strict=True)

    def __call__(
        self, key: PRNGKeyArray, objective: Any, points: Array, target: PyTree, seen: tuple[Array, Array]
    ) -> Array:
        z, values = seen
        flat = z.reshape(len(z), -1)
        rows, heights = flat - flat.mean(0), values - values.mean()
        gram = rows @ rows.T
        # The dual form: n x n however many dimensions there are.
        lift = jnp.asarray(self.ridge, gram.dtype) * jnp.trace(gram) / len(z)
        weights = jnp.linalg.solve(gram + jnp.maximum(lift, jnp.finfo(gram.dtype).tiny) * jnp.eye(len(z)), heights)
        return jnp.broadcast_to((weights @ rows).reshape(z.shape[1:]), (len(points), *z.shape[1:])).astype(z.dtype)


@struct.dataclass
class FromValues:
    """An objective that is only computed, outside JAX; build it with `from_values`."""

    fn: Callable[..., Any] = struct.field(pytree_node=False)
    noisy = False

    def check(self, target: PyTree, num_samples: int, shape: tuple[int, ...]) -> None:
        """Every leaf of the target needs a leading axis of num_samples."""
        check_leading(target, num_samples)

    def __call__(self, x0: Float[Array, "*shape"], target: Any) -> Float[Array, ""]:
        depth = x0.ndim
        leaves, structure = jax.tree.flatten(target)
        depths = [jnp.ndim(leaf) for leaf in leaves]

        def values(x: Array, *leaves: Array) -> np.ndarray:
            many = np.asarray(x)
            lead = many.shape[: many.ndim - depth]
            flat = [
                np.asarray(leaf).reshape(-1, *np.shape(leaf)[np.ndim(leaf) - d :])
                for leaf, d in zip((many, *leaves), (depth, *depths), strict=True)
            ]
            rewards = np.asarray(self.fn(flat[0], structure.unflatten(flat[1:])))
            if rewards.shape != (len(flat[0]),):
                raise ValueError(
                    f"objective returned shape {rewards.shape} for {len(flat[0])} samples; give one a sample"
                )
            return rewards.reshape(lead).astype(many.dtype)

        return jax.pure_callback(
            values, jax.ShapeDtypeStruct((), x0.dtype), x0, *leaves, vmap_method="broadcast_all"
        )  # fmt: skip


@public
def from_values(fn: Callable[..., Any]) -> FromValues:
    """A black-box objective from a NumPy function of many samples: a simulator, a program, a person.

    Args:
        fn: ``fn(x (n, *shape), target) -> (n,)`` values, higher is better; called on the host with NumPy arrays.
    """
    return FromValues(fn)
