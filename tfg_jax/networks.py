"""Networks of the user's own: in evaluation mode, and functions of the right arity."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tfg_jax import struct
from tfg_jax.checks import show


class NoGradient(ValueError):
    """A network was differentiated that cannot be."""


def is_array(leaf: Any) -> bool:
    """Whether ``leaf`` is an array of numbers or keys, now or under a trace."""
    dtype = None if isinstance(leaf, type) else getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        return False
    return jnp.issubdtype(dtype, jax.dtypes.extended) or jnp.issubdtype(dtype, np.number) or dtype == np.bool_


def is_traceable(leaf: Any) -> bool:
    """Whether ``leaf`` may be a leaf of what a compiled function is given."""
    return isinstance(leaf, int | float | complex | np.number | np.bool_) or is_array(leaf)


def check_evaluation(name: str, value: Any, *, split: bool = False) -> None:
    """Raise ValueError for a Flax NNX network in training mode anywhere in a pytree, or closed over by a function.

    There a batch normalization sees a batch of one sample and ignores it, and dropout stays on.

    Args:
        name: what it is called.
        value: the pytree or function.
        split: whether a graph definition counts, too, from which a function merges the network itself.
    """
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is None or not (split or struct.once(value, _may_train)):  # then nothing is of it
        return
    for network in _networks(value, (nnx.Module, nnx.GraphDef) if split else (nnx.Module,)):
        layers: list[tuple[tuple, str, Any]] = list(_layers(network, nnx))
        for path, kind, layer in layers:
            if _trains(layer):
                where = ".".join(map(str, path)) or "itself"
                raise ValueError(
                    f"{name} holds a {layers[-1][1]} in training mode, seen in its layer {where} ({kind}); call its "
                    ".eval() first"
                )


def _layers(network: Any, nnx: Any) -> Iterator[tuple[tuple, str, Any]]:
    """Path, class name and attributes of the layers of a network or of its graph definition; of the whole last."""
    if not isinstance(network, nnx.GraphDef):
        layers: Any = nnx.iter_modules(network)
        yield from ((path, type(layer).__name__, layer) for path, layer in layers if path)
        yield (), type(network).__name__, network
        return
    nodes: Iterator[Any] = iter(network.nodes)
    attributes: Iterator[Any] = iter(network.attributes or ())

    def read(path: tuple) -> Iterator[tuple[tuple, str, Any]]:
        node: Any = next(nodes)
        fixed: dict[str, Any] = {}
        for _ in range(getattr(node, "num_attributes", 0)):
            key, value = next(attributes)
            if type(value).__name__ == "NodeAttr":
                yield from read((*path, key))
            elif hasattr(value, "value"):
                fixed[str(key)] = value.value
        yield path, getattr(getattr(node, "type", None), "__name__", ""), types.SimpleNamespace(**fixed)

    yield from read(())


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
    return any(True for _ in _networks(structure.unflatten([0.0] * structure.num_leaves), (nnx.Module,)))


def _trains(layer: Any) -> bool:
    if getattr(layer, "use_running_average", None) is False:
        return True
    # Without a rate the attribute is the layer's own affair.
    rate = getattr(layer, "rate", getattr(layer, "dropout_rate", None))
    return getattr(layer, "deterministic", None) is False and rate not in (None, 0.0)


MODE_SETTERS = {"eval", "set_attributes", "view"}
"""A function that calls one of these sets the mode of what it merges itself."""


def _networks(value: Any, kind: tuple[type, ...], depth: int = 3) -> Iterator[Any]:
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
            if MODE_SETTERS & set(value.__code__.co_names):
                inside = [each for each in inside if not hasattr(each, "nodes")]
        case _:
            leaves = jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, kind))
            yield from (leaf for leaf in leaves if isinstance(leaf, kind))
            opaque = [leaf for leaf in leaves if callable(leaf) and not isinstance(leaf, (type, *kind))]
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


def check_function(name: str, fn: Any, arguments: str, *, static: bool = True, named: tuple[str, ...] = ()) -> None:
    """Raise ValueError unless ``fn`` is a function of these arguments, "(x0, target)", and hashable if it is static.

    Args:
        name: what it is called.
        fn: the function.
        arguments: those given by place.
        static: whether it must be hashable.
        named: those given by name.
    """
    if not callable(fn) or isinstance(fn, type):
        raise ValueError(f"{name}={show(fn)} is no function; pass one of {arguments}")
    check_evaluation(name, fn, split=True)
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
        signature.bind(*arguments.strip("()").split(","), **dict.fromkeys(named))
    except TypeError:
        raise ValueError(f"{name}={show(fn)} takes {signature}; it must take {arguments}"[:300]) from None
