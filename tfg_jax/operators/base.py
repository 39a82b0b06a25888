"""What an operator is, its shape checks, and the weighted least-squares slope that linear methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tfg_jax.checks import check_count, check_number, show
from tfg_jax.kinds import public

CG_STEPS = 64
"""Most steps of conjugate gradients, for operators without a `gram_solve` of their own."""


@runtime_checkable
class Operator(Protocol):
    """A measurement of one sample; see the package's docstring for what linear ones have besides."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples it measures; static."""
        ...

    def __call__(self, x0: Array) -> Array:
        """The noiseless measurement of one sample."""
        ...


def check_image_shape(shape: Any) -> tuple[int, int, int]:
    """``shape`` as (H, W, C). Raises ValueError for anything else."""
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"shape={show(shape)} must be (H, W, C), the shape of one image")
    for name, size in zip(("height", "width", "channels"), shape, strict=True):
        check_count(f"shape's {name}", size)
    return int(shape[0]), int(shape[1]), int(shape[2])


def expect(operator: Any, name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise ValueError unless ``got``, the shape of what an operator was given, is ``wanted``; works under jit."""
    if tuple(got) != tuple(wanted):
        raise ValueError(
            f"{name} has shape {tuple(got)}, but operator {type(operator).__name__} was made for {tuple(wanted)}; "
            "make the operator for this shape, and call it on one sample"
        )


@public
def measurement_slope(
    operator: Callable[[Array], Array],
    x0: Float[Array, "*shape"],
    residual: Float[Array, "*measurement"],
    variance: ArrayLike,
    ridge: ArrayLike,
) -> Float[Array, "*shape"]:
    """``A^T (variance A A^T + ridge I)^-1 residual``.

    Exact for operators with a `gram_solve`. For any other, A is the Jacobian at ``x0`` and the system is solved by at
    most `CG_STEPS` steps of conjugate gradients.

    Args:
        operator: of one sample.
        x0: where an operator without `gram_solve` is linearised.
        residual: ``y - operator(x0)``.
        variance: of x0 given what is known, > 0.
        ridge: variance of the measurement noise, > 0.
    """
    check_number("variance", variance, low=0.0)
    check_number("ridge", ridge, low=0.0)
    # A number of another precision than the measurement's must not change what the solver iterates on.
    variance, ridge = (jnp.asarray(value, jnp.finfo(residual.dtype).dtype) for value in (variance, ridge))
    if hasattr(operator, "gram_solve"):
        return operator.adjoint(operator.gram_solve(residual, variance, ridge))  # type: ignore[attr-defined]
    _, push = jax.linearize(operator, x0)
    pull = jax.linear_transpose(push, x0)
    solved, _ = cg(lambda z: variance * push(pull(z)[0]) + ridge * z, residual, maxiter=CG_STEPS)
    return pull(solved)[0]
