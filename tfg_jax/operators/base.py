"""What an operator is, its shape checks, and the weighted least-squares gradient that linear methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from tfg_jax.checks import check_count, check_number, check_numbers, is_concrete, show
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


def entries(name: str, value: Any) -> np.ndarray:
    """``value`` in float64, or in complex128 if it is complex.

    Raises ValueError if it is traced, and unless all of it is finite.
    """
    if not all(is_concrete(part) for part in jax.tree.leaves(value)):
        raise ValueError(
            f"{name} is traced, but its values are read when this is made; make it outside of jit, vmap and lax.map, "
            "then pass it in or close over it"
        )
    given = np.asarray(value)
    if given.dtype.kind == "c":
        if not np.isfinite(given).all():
            raise ValueError(f"{name} holds NaN or infinity; give finite numbers")
        return given.astype(np.complex128)
    numbers = np.asarray(value, np.float64)
    check_numbers(name, numbers)
    return numbers


def leaf(values: np.ndarray) -> Array:
    """An operator's numbers in JAX's own precision; complex ones stay complex."""
    return jnp.asarray(values, jnp.result_type(complex if values.dtype.kind == "c" else float))


def cast(values: Array, x: Array) -> Array:
    """An operator's numbers in the precision of ``x``; complex ones stay complex."""
    return values.astype(jnp.result_type(x.dtype, jnp.complex64) if jnp.iscomplexobj(values) else x.dtype)


def as_real(y: Inexact[Array, "..."]) -> Float[Array, "..."]:
    """A complex array as its real and imaginary parts on a new first axis; a real one as it is."""
    return jnp.stack([y.real, y.imag]) if jnp.iscomplexobj(y) else y


@public
def measurement_gradient(
    operator: Callable[[Array], Array],
    x0: Inexact[Array, "*shape"],
    residual: Inexact[Array, "*measurement"],
    variance: ArrayLike,
    ridge: ArrayLike,
) -> Inexact[Array, "*shape"]:
    """``A^T (variance A A^T + ridge I)^-1 residual``, a complex measurement of a real sample taken as two real ones.

    Exact for operators with a `gram_solve` (`real_gradient`, where the measurement alone is complex). For any other, A
    is the Jacobian at ``x0`` and the system is solved by at most `CG_STEPS` steps of conjugate gradients.

    Args:
        operator: of one sample.
        x0: where an operator without closed form is linearized.
        residual: ``y - operator(x0)``.
        variance: of x0 given what is known, > 0.
        ridge: variance of the measurement noise, > 0; of its real and its imaginary part each.
    """
    check_number("variance", variance, low=0.0)
    check_number("ridge", ridge, low=0.0)
    # A number of another precision than the measurement's must not change what the solver iterates on.
    variance, ridge = (jnp.asarray(value, jnp.finfo(residual.dtype).dtype) for value in (variance, ridge))
    if jnp.iscomplexobj(residual) and not jnp.iscomplexobj(x0):
        if hasattr(operator, "real_gradient"):
            return operator.real_gradient(residual, variance, ridge)  # type: ignore[attr-defined]
    elif hasattr(operator, "gram_solve"):
        return operator.adjoint(operator.gram_solve(residual, variance, ridge))  # type: ignore[attr-defined]
    if jnp.iscomplexobj(x0):
        parts = measurement_gradient(
            lambda x: operator(jax.lax.complex(x[0], x[1])), as_real(x0), residual, variance, ridge
        )
        return jax.lax.complex(parts[0], parts[1])
    _, push = jax.linearize(lambda x: as_real(operator(x)), x0)
    pull = jax.linear_transpose(push, x0)
    solved, _ = cg(lambda z: variance * push(pull(z)[0]) + ridge * z, as_real(residual), maxiter=CG_STEPS)
    return pull(solved)[0]
