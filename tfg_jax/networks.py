"""Networks of the user's own: in evaluation mode, of the right arity, with weights that can be traced."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from tfg_jax import struct
from tfg_jax.checks import show

HOLE = type("Hole", (), {"__repr__": lambda self: "array"})()
"""Stands in the fixed part of partitioned weights for a leaf that is traced."""


def is_array(leaf: Any) -> bool:
    """Whether ``leaf`` is an array of numbers or keys, now or under a trace."""
    dtype = None if isinstance(leaf, type) else getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        return False
    return jnp.issubdtype(dtype, jax.dtypes.extended) or jnp.issubdtype(dtype, np.number) or dtype == np.bool_


def is_traceable(leaf: Any) -> bool:
    """Whether ``leaf`` may be a leaf of what a compiled function is given."""
    return isinstance(leaf, int | float | complex | np.number | np.bool_) or is_array(leaf)


def check_evaluation(name: str, value: Any) -> None:
    """Raise ValueError for a Flax NNX network in training mode anywhere in a pytree, or closed over by a function.

    There a batch normalization sees a batch of one sample and ignores it, and dropout stays on.
    """
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not _may_train(value):  # then nothing is of it
        return
    for network in _networks(value, nnx.Module):
        for path, layer in nnx.iter_modules(network):
            if _trains(layer):
                where = ".".join(map(str, path)) or "itself"
                raise ValueError(
                    f"{name} holds a {type(network).__name__} in training mode, seen in its layer {where} "
                    f"({type(layer).__name__}); call its .eval() first"
                )


def _may_train(value: Any) -> bool:
    """False for pytrees whose structure, which holds the mode of every network in it, was found to be right before."""
    leaves, structure = jax.tree.flatten(value)
    if any(callable(leaf) for leaf in leaves):
        return True
    try:
        return _structure_may_train(structure)
    except (TypeError, ValueError):  # one that cannot be hashed or compared
        return True


@functools.lru_cache(maxsize=256)
def _structure_may_train(structure: Any) -> bool:
    nnx = sys.modules["flax.nnx"]
    return any(True for _ in _networks(structure.unflatten([0.0] * structure.num_leaves), nnx.Module))


def _trains(layer: Any) -> bool:
    if getattr(layer, "use_running_average", None) is False:
        return True
    rate = getattr(layer, "rate", getattr(layer, "dropout_rate", None))
    return getattr(layer, "deterministic", None) is False and rate != 0.0


def _networks(value: Any, kind: type, depth: int = 3) -> Iterator[Any]:
    """The networks that a pytree holds, or a function reaches by its closure, defaults, arguments or global names."""
    if depth == 0:
        return
    match value:
        case functools.partial():
            inside: list[Any] = [value.func, *value.args, *value.keywords.values()]
        case types.MethodType():
            inside = [value.__self__, value.__func__]
        case types.FunctionType():
            inside = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
            inside += [value.__wrapped__] if hasattr(value, "__wrapped__") else []
            inside += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
            named = (value.__globals__.get(name) for name in value.__code__.co_names)
            inside += [each for each in named if isinstance(each, kind)]
        case _:
            leaves = jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, kind))
            yield from (leaf for leaf in leaves if isinstance(leaf, kind))
            opaque = [leaf for leaf in leaves if callable(leaf) and not isinstance(leaf, type | kind)]
            known = functools.partial | types.MethodType | types.FunctionType
            inside = [leaf for leaf in opaque if isinstance(leaf, known) and leaf is not value]
            # What jax.jit and its like make of a function, and objects that hold a network.
            others = [leaf for leaf in opaque if not isinstance(leaf, known)]
            inside += [leaf.__wrapped__ for leaf in others if hasattr(leaf, "__wrapped__")]
            inside += [part for leaf in others for part in getattr(leaf, "__dict__", {}).values()]
    for each in inside:
        yield from _networks(each, kind, depth - 1)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that is not bound yet
        return False


def check_function(name: str, fn: Any, arguments: str, *, static: bool = True) -> None:
    """Raise ValueError unless ``fn`` is a function of these arguments, "(x0, target)", and hashable if it is static."""
    if not callable(fn) or isinstance(fn, type):
        raise ValueError(f"{name}={show(fn)} is no function; pass one of {arguments}")
    check_evaluation(name, fn)
    try:
        hash(fn if static else None)
    except TypeError:
        raise ValueError(
            f"{name}={type(fn).__name__} cannot be hashed; pass a function of {arguments} and the weights beside it"
        ) from None
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(*arguments.strip("()").split(","))
    except TypeError:
        raise ValueError(f"{name}={show(fn)} takes {signature}; it must take {arguments}"[:300]) from None


@struct.dataclass
class Partitioned:
    """A function of weights with leaves that no compiled function takes: they are static, the arrays are traced."""

    fn: Callable[..., Any] = struct.field(pytree_node=False)
    structure: Any = struct.field(pytree_node=False)
    fixed: tuple[Any, ...] = struct.field(pytree_node=False)

    def __call__(self, params: PyTree, *rest: Any) -> Any:
        arrays = iter(params)
        leaves = [next(arrays) if leaf is HOLE else leaf for leaf in self.fixed]
        return self.fn(self.structure.unflatten(leaves), *rest)


def partition(name: str, fn: Callable[..., Any], params: PyTree) -> tuple[Callable[..., Any], PyTree]:
    """``fn`` and ``params`` with traceable leaves alone: text, functions and other constants move into the function.

    Of an Equinox module only arrays are traced, as its own transformations have it: its numbers steer Python.

    Raises:
        ValueError: a leaf that is neither traceable nor hashable, or a network in training mode.
    """
    check_evaluation(name, params)
    equinox = sys.modules.get("equinox")
    is_module = (lambda node: isinstance(node, equinox.Module)) if equinox else (lambda node: False)
    own = any(is_module(node) for node in jax.tree.leaves(params, is_leaf=is_module))
    traced = is_array if own else is_traceable
    leaves, structure = jax.tree.flatten(params)
    if all(traced(leaf) for leaf in leaves):
        return fn, params
    fixed = tuple(HOLE if traced(leaf) else leaf for leaf in leaves)
    for path, leaf in jax.tree.leaves_with_path(params):
        try:
            hash(None if traced(leaf) else leaf)
        except TypeError:
            where = f"{name}{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where}={show(leaf)} is neither an array nor hashable; keep it out of {name}") from None
    return Partitioned(fn, structure, fixed), [leaf for leaf in leaves if traced(leaf)]
