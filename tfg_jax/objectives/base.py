"""What an objective is, and objectives from plain functions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.domains.base import Domain, Spec
from tfg_jax.kinds import public
from tfg_jax.modules import linen_function, nnx_function, of_pair, partition
from tfg_jax.networks import check_function


@runtime_checkable
class Objective(Protocol):
    """The log-weight of one clean sample; see the package's docstring."""

    @property
    def noisy(self) -> bool:
        """True for an objective of noisy samples; static."""
        ...

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
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
    uses_cond: bool = struct.field(pytree_node=False, default=False)

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """Every leaf of the target needs a leading axis of num_samples."""
        check_leading(target, num_samples)

    def __call__(self, x: PyTree, *target_and_level: Any, **cond: Any) -> Any:
        return self.fn(self.params, x, *target_and_level, **cond)


@public
def from_fn(fn: Callable[..., Array] | tuple, params: Any = None, *, noisy: bool = False) -> FromFn:
    """An objective from your own function of one sample.

    Args:
        fn: ``fn(params, x0, target) -> scalar`` log-weight, or with ``noisy=True`` ``fn(params, x, target, level)``
            of the noisy sample. One with a parameter named ``cond`` is also given the sample's condition. Define it
            once, at module level: a fresh lambda each call compiles anew each call. A pair (init, apply), as Haiku
            transforms a network to, stands for its apply.
        params: its weights, traced; an Equinox module's arrays.
        noisy: whether it is a function of the noisy sample and its level.

    Raises:
        ValueError: a function of other arguments, or a network in training mode.
    """
    function: Any = of_pair(fn)
    named = ("cond",) if takes_cond(function) else ()
    check_function("fn", function, "(params, x, target, level)" if noisy else "(params, x0, target)", named=named)
    function, params = partition("params", function, params)
    return FromFn(params, function, noisy, bool(named))


@public
def from_nnx(module: Any, *, call: Mapping[str, Any] | None = None) -> FromFn:
    """An objective from an ordinary batched Flax NNX network ``module(x0[, target])`` that gives (batch,) log-weights.

    Args:
        module: the network, in evaluation mode; x0 is (batch, *shape), and the target is left out where it is None.
        call: further keyword arguments of every call, static, e.g. ``{"train": False}``.

    Raises:
        ValueError: no NNX module, or one with a layer in training mode.
    """
    fn, params = nnx_function(module, call)
    return FromFn(params, fn)


@public
def from_linen(module: Any, variables: Any, *, call: Mapping[str, Any] | None = None) -> FromFn:
    """An objective from an ordinary batched Flax Linen network, as `from_nnx`.

    Args:
        module: the network.
        variables: its variable collections, ``{"params": ...}``.
        call: further keyword arguments of every call, static, e.g. ``{"train": False}``.

    Raises:
        ValueError: no Linen module, or variables without collections.
    """
    return FromFn(variables, linen_function(module, variables, call))


@struct.dataclass
class Plain:
    """A plain function ``fn(x0, target) -> scalar`` as an objective; built by `as_objective`."""

    fn: Callable[..., Array] = struct.field(pytree_node=False)
    uses_cond: bool = struct.field(pytree_node=False, default=False)
    noisy = False

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """Every leaf of the target needs a leading axis of num_samples."""
        check_leading(target, num_samples)

    def __call__(self, x0: PyTree, target: Any, **cond: Any) -> Any:
        return self.fn(x0, target, **cond)


def as_objective(objective: Any) -> Any:
    """``objective`` itself, or a function or module ``(x0, target) -> scalar`` made one; None stays None.

    A module of Flax NNX is batched, as `from_nnx` takes it; the arrays of any other pytree, such as an Equinox module,
    are traced.
    """
    if objective is None or hasattr(objective, "check"):
        return objective
    flax = {kind: sys.modules.get(f"flax.{kind}") for kind in ("nnx", "linen")}
    if flax["nnx"] is not None and isinstance(objective, flax["nnx"].Module):
        return from_nnx(objective)
    if flax["linen"] is not None and isinstance(objective, flax["linen"].Module):
        name = type(objective).__name__
        raise ValueError(f"objective={name} has no weights; pass tfg.objectives.from_linen({name}(...), variables)")
    leaves = jax.tree.leaves(objective)
    is_tree = bool(leaves) and not (len(leaves) == 1 and leaves[0] is objective)
    named = ("cond",) if takes_cond(objective) else ()
    check_function("objective", objective, "(x0, target)", static=not is_tree, named=named)
    if not is_tree:
        return Plain(objective, bool(named))
    fn, params = partition("objective", _itself, objective)
    return FromFn(params, fn, uses_cond=bool(named))


def _itself(module: Any, *inputs: Any, **cond: Any) -> Any:
    return module(*inputs, **cond)


def takes_cond(fn: Any) -> bool:
    """Whether a function has a parameter named ``cond``."""
    try:
        return "cond" in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # no function, or one written in C
        return False


def uses_cond(objective: Any) -> bool:
    """Whether an objective is called with ``cond=``, the sample's condition."""
    return getattr(objective, "uses_cond", False)


def log_weight(objective: Any, x: PyTree, target: Any, cond: PyTree, *level: Any) -> Any:
    """An objective's value; only one that says so is given the condition."""
    return objective(x, target, *level, **_cond(objective, cond))


def _cond(objective: Any, cond: PyTree) -> dict[str, PyTree]:
    return {"cond": cond} if uses_cond(objective) else {}


class Around:
    """Members of an objective around another one: that one's, but for what is overridden."""

    objective: Any

    @property
    def noisy(self) -> bool:
        """As the objective's."""
        return self.objective.noisy

    @property
    def crosses_zero(self) -> bool:
        """As the objective's."""
        return getattr(self.objective, "crosses_zero", False)

    @property
    def uses_cond(self) -> bool:
        """As the objective's."""
        return uses_cond(self.objective)

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """As the objective's."""
        self.objective.check(target, num_samples, shape)

    def usable(self, target: PyTree) -> Array:
        """As the objective's."""
        return is_usable(self.objective, target)


@struct.dataclass
class AtDoor(Around):
    """An objective of samples as their user sees them, as one of the core's arrays; its target is (target, cond).

    The array is unraveled, and projected, so that gradients are of the samples' subspace.
    """

    objective: Any
    domain: Domain | None

    @property
    def uses_cond(self) -> bool:
        """False: the condition is a part of the target."""
        return False

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """As the objective's, at the shapes that it sees."""
        spec = None if self.domain is None else self.domain.spec
        self.objective.check(target[0], num_samples, shape if spec is None else spec.unflatten(spec.shapes))

    def usable(self, target: PyTree) -> Array:
        """As the objective's."""
        return is_usable(self.objective, target[0])

    def _seen(self, x: Array, cond: PyTree) -> PyTree:
        return x if self.domain is None else self.domain.unpack(self.domain.projected(x, cond))

    def __call__(self, x: Array, target: Any, *level: Any) -> Any:
        return log_weight(self.objective, self._seen(x, target[1]), *target, *level)


@struct.dataclass
class ResidualAtDoor(AtDoor):
    """Of an objective with a measurement residual."""

    def with_residual(self, x0: Array, target: Any) -> tuple[Array, Array]:
        """As the objective's."""
        return self.objective.with_residual(self._seen(x0, target[1]), target[0], **_cond(self.objective, target[1]))


@struct.dataclass
class GaussianAtDoor(ResidualAtDoor):
    """Of the log-likelihood of a Gaussian measurement."""

    def measurement_gradient(self, x0: Array, target: Any, variance: Any) -> Array:
        """As the objective's, its operator seen through the door."""
        operator = jax.tree_util.Partial(_operated, self.objective, self, target[1])
        return self.objective.replace(operator=operator).measurement_gradient(x0, target[0], variance)


def _operated(objective: Any, door: AtDoor, cond: PyTree, x0: Array) -> Any:
    return objective.operator(door._seen(x0, cond), **_cond(objective, cond))


def at_door(objective: Any, domain: Domain | None, target: PyTree, cond: PyTree) -> tuple[Any, PyTree]:
    """Objective and target as the core takes them: themselves, unless samples are pytrees or projected, or ``cond`` is
    looked at."""
    seen_as_is = domain is None or not (domain.projects or not domain.spec.is_array)
    if objective is None or (seen_as_is and not uses_cond(objective)):
        return objective, target
    kinds = {"measurement_gradient": GaussianAtDoor, "with_residual": ResidualAtDoor}
    kind = next((kind for name, kind in kinds.items() if hasattr(objective, name)), AtDoor)
    return kind(objective, domain), (target, cond)


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


def output_shape(fn: Any, shape: Any) -> Any:
    """Shape, or pytree of shapes, of what ``fn``, a pytree, makes of one sample."""
    return jax.tree.map(lambda leaf: leaf.shape, output_of(fn, Domain(Spec.of(shape)).arrays()))


def check_leading(target: PyTree, num_samples: int, name: str = "target") -> None:
    """Raise ValueError unless every leaf of ``target`` has one entry a sample on its first axis."""
    for leaf in jax.tree.leaves(target):
        shape = getattr(leaf, "shape", ())
        if len(shape) == 0 or shape[0] != num_samples:
            fix = f"give one {name} a sample"
            if isinstance(target, list | tuple) and not hasattr(leaf, "shape"):
                fix = f"a list of numbers is many leaves: pass jnp.asarray({name})"
            raise ValueError(
                f"{name} has a leaf of shape {shape}, num_samples={num_samples} needs ({num_samples}, ...); {fix}"
            )
