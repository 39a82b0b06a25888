"""What an objective is, and objectives from plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.kinds import public
from tfg_jax.modules import partition
from tfg_jax.networks import check_function


@runtime_checkable
class Objective(Protocol):
    """The log-weight of one clean sample; see the package's docstring."""

    @property
    def noisy(self) -> bool:
        """True for an objective of noisy samples; static."""
        ...

    def check(self, target: PyTree, num_samples: int, shape: tuple[int, ...]) -> None:
        """Raise ValueError for targets of the wrong shape, dtype or range; values are checked when concrete."""
        ...

    def __call__(self, x0: Array, target: Any, /) -> Array:
        """The log-weight, a scalar."""
        ...


@struct.dataclass
class FromFn:
    """An objective from a function ``fn(params, x0, target) -> scalar``; build it with `from_fn`."""

    params: PyTree
    fn: Callable[..., Array] = struct.field(pytree_node=False)
    noisy: bool = struct.field(pytree_node=False, default=False)

    def check(self, target: PyTree, num_samples: int, shape: tuple[int, ...]) -> None:
        """Every leaf of the target needs a leading axis of num_samples."""
        check_leading(target, num_samples)

    def __call__(self, x: Array, *target_and_level: Any) -> Array:
        return self.fn(self.params, x, *target_and_level)


@public
def from_fn(fn: Callable[..., Array], params: Any = None, *, noisy: bool = False) -> FromFn:
    """An objective from your own function of one sample.

    Args:
        fn: ``fn(params, x0, target) -> scalar`` log-weight, or with ``noisy=True`` ``fn(params, x, target, level)``
            of the noisy sample. Define it once, at module level: a fresh lambda each call compiles anew each call.
        params: its weights, traced; an Equinox module's arrays.
        noisy: whether it is a function of the noisy sample and its level.

    Raises:
        ValueError: a function of other arguments, or a network in training mode.
    """
    check_function("fn", fn, "(params, x, target, level)" if noisy else "(params, x0, target)")
    fn, params = partition("params", fn, params)
    return FromFn(params, fn, noisy)


@struct.dataclass
class Plain:
    """A plain function ``fn(x0, target) -> scalar`` as an objective; built by `as_objective`."""

    fn: Callable[..., Array] = struct.field(pytree_node=False)
    noisy = False

    def check(self, target: PyTree, num_samples: int, shape: tuple[int, ...]) -> None:
        """Every leaf of the target needs a leading axis of num_samples."""
        check_leading(target, num_samples)

    def __call__(self, x0: Array, target: Any) -> Array:
        return self.fn(x0, target)


def as_objective(objective: Any) -> Any:
    """``objective`` itself, or a plain function made one; None stays None."""
    if objective is None or hasattr(objective, "check"):
        return objective
    check_function("objective", objective, "(x0, target)")
    return Plain(objective)


def is_usable(objective: Any, target: PyTree) -> Array:
    """Whether one sample's target can be meant, as its objective's ``usable(target)`` says, if it has one.

    For what `Objective.check` cannot see eagerly: under jit a class may be out of range, a measurement not finite.
    """
    return objective.usable(target) if hasattr(objective, "usable") else jnp.ones((), bool)


@jax.jit
def _applied(fn: Any, *values: Any) -> Any:
    return fn(*values)


def output_of(fn: Any, *values: Any) -> Any:
    """Shapes and dtypes of what ``fn``, a pytree, makes of values of these; traced once, however often it is asked."""
    return _applied.eval_shape(fn, *values)


def output_shape(fn: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what ``fn``, a pytree, makes of one sample."""
    return output_of(fn, jax.ShapeDtypeStruct(shape, "float32")).shape


def check_leading(target: PyTree, num_samples: int, name: str = "target") -> None:
    """Raise ValueError unless every leaf of ``target`` has one entry a sample on its first axis."""
    for leaf in jax.tree.leaves(target):
        shape = getattr(leaf, "shape", ())
        if len(shape) == 0 or shape[0] != num_samples:
            raise ValueError(
                f"{name} has a leaf of shape {shape}, num_samples={num_samples} needs ({num_samples}, ...); "
                f"give one {name} a sample"
            )
