"""Frozen pytree dataclasses, of which two are one structure only if they are one type.

Same use as ``flax.struct``, whose classes (as all of ``jax.tree_util.register_dataclass``) compare equal in jaxlib 0.10
when their numbers of leaves and their static values agree, whatever their types. The hash tells them apart most of the
time only, so a compiled function called with a `Heun` now and then ran the program of an `Euler`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

T = TypeVar("T")


def field(*, pytree_node: bool = True, **options: Any) -> Any:
    """A dataclass field; ``pytree_node=False`` makes it static: hashable, part of the structure.

    Args:
        pytree_node: whether the field holds leaves.
        **options: as `dataclasses.field`.
    """
    return dataclasses.field(metadata={"pytree_node": pytree_node}, **options)


class Spec(NamedTuple):
    """What a declared field says of itself; `tfg_jax.declare` reads checks, JSON, flags and tables off it."""

    kind: Literal["number", "count", "choice", "static", "child"]
    help: str = ""
    low: float | None = None
    high: float | None = None
    strict: bool = False
    infinite: bool = False
    per_sample: bool = False
    flag: Any = None


def number(
    *, default: Any = dataclasses.MISSING, low: float | None = None, high: float | None = None, strict: bool = False,
    infinite: bool = False, per_sample: bool = False, help: str = "",
) -> Any:  # fmt: skip
    """A real number, traced; None is allowed where the annotation says so.

    Args:
        default: the value it has if none is given.
        low, high: its range, ends included; ``strict`` leaves ``low`` out.
        strict: see low.
        infinite: whether infinities are meant as well.
        per_sample: whether it may be a `tfg_jax.PerSample`, one number a sample.
        help: what it is, with its unit, in one sentence.
    """
    return _declared(default, True, Spec("number", help, low, high, strict, infinite=infinite, per_sample=per_sample))


def count(*, default: Any = dataclasses.MISSING, low: int = 1, high: int | None = None, help: str = "") -> Any:
    """An integer in a range, static; None is allowed where the annotation says so. Arguments as of `number`."""
    return _declared(default, False, Spec("count", help, low, high))


def choice(*, default: Any = dataclasses.MISSING, help: str = "") -> Any:
    """One of the options of its ``Literal`` annotation, static. Arguments as of `number`."""
    return _declared(default, False, Spec("choice", help))


def static(*, default: Any = dataclasses.MISSING, help: str = "", flag: Any = None) -> Any:
    """Anything hashable of the kind that its annotation says, static.

    Args:
        default: the value it has if none is given.
        help: what it is, in one sentence.
        flag: the type it is given as on the command line; None leaves it out there, but for numbers, texts and truths.
    """
    return _declared(default, False, Spec("static", help, flag=flag))


def child(*, default: Any = dataclasses.MISSING, help: str = "") -> Any:
    """A pytree of the kind that its annotation says: another configuration, a model. Arguments as of `number`."""
    return _declared(default, True, Spec("child", help))


def _declared(default: Any, pytree_node: bool, spec: Spec) -> Any:
    return dataclasses.field(default=default, metadata={"pytree_node": pytree_node, "spec": spec})


def _with_old_names(init: Any, renamed: Mapping[str, str]) -> Any:
    """A constructor that takes fields by the names that they had before, and says so."""

    @functools.wraps(init)
    def constructor(self: Any, *args: Any, **fields: Any) -> None:
        for old in renamed.keys() & fields.keys():
            new, name = renamed[old], type(self).__name__
            message = f"{name}({old}=) is called {new}; the old name goes with the next release"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            fields[new] = fields.pop(old)
        init(self, *args, **fields)

    return constructor


@dataclass_transform(frozen_default=True, field_specifiers=(field, number, count, choice, static, child))
def dataclass(cls: type[T]) -> type[T]:
    """``cls`` as a frozen dataclass and pytree node, with ``replace(**fields)`` and a `short_repr` of its own."""
    cls = dataclasses.dataclass(frozen=True, repr=False)(cls)
    if renamed := vars(cls).get("renamed"):
        cls.__init__ = _with_old_names(cls.__init__, renamed)  # type: ignore[method-assign]
    if "__repr__" not in vars(cls):
        cls.__repr__ = short_repr  # type: ignore[method-assign]
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data = tuple(f.name for f in fields if f.metadata.get("pytree_node", True))
    static = tuple(f.name for f in fields if not f.metadata.get("pytree_node", True))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(node: Any) -> tuple[tuple, tuple]:
        return tuple(getattr(node, name) for name in data), tuple(getattr(node, name) for name in static)

    def flatten_with_keys(node: Any) -> tuple[tuple, tuple]:
        leaves, aux = flatten(node)
        return tuple(zip(keys, leaves, strict=True)), aux

    # What a transformation carries (batches, shapes, placeholders) is checked where it was written, not here; only a
    # `__post_init__` of the user's own, which may do other work, is run as well.
    bare = not hasattr(cls, "__post_init__") or hasattr(cls, "is_declared")

    def unflatten(aux: tuple, leaves: Any) -> Any:
        if not bare:
            return cls(**dict(zip(data, leaves, strict=True)), **dict(zip(static, aux, strict=True)))
        node = object.__new__(cls)
        vars(node).update(zip(data, leaves, strict=True))
        vars(node).update(zip(static, aux, strict=True))
        return node

    if not hasattr(cls, "replace"):
        cls.replace = dataclasses.replace  # type: ignore[attr-defined]
    cls.is_struct = True  # type: ignore[attr-defined]
    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def once(config: Any, question: Callable[[Any], Any]) -> Any:
    """``question(config)``, which a frozen dataclass of this module remembers, since its fields do not change."""
    if not hasattr(type(config), "is_struct"):
        return question(config)
    answers = vars(config).setdefault("_answers", {})
    if question not in answers:
        answers[question] = question(config)
    return answers[question]


def with_fields(node: T, **fields: Any) -> T:
    """``node`` with other fields, which are known to be right: nothing is checked again."""
    if not hasattr(type(node), "is_declared"):
        return dataclasses.replace(node, **fields)  # type: ignore[type-var]
    other = object.__new__(type(node))
    vars(other).update({each.name: getattr(node, each.name) for each in dataclasses.fields(node)}, **fields)  # type: ignore
    return other


def short_repr(node: Any) -> str:
    """The fields of a dataclass on one line: arrays as dtype and shape, weights as their count, functions by name."""
    fields = (f"{field.name}={_short(getattr(node, field.name))}" for field in dataclasses.fields(node))
    return f"{type(node).__name__}({', '.join(fields)})"


def _short(value: Any) -> str:
    if hasattr(type(value), "is_struct"):
        return repr(value)
    if hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type):
        return _short_array(value)
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and len(value) > 4):
        return _short_tree(value)
    if isinstance(value, tuple) and type(value) is tuple:
        inside = ", ".join(map(_short, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, types.FunctionType):
        return value.__qualname__
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"<{type(value).__name__}>"


def _short_array(value: Any) -> str:
    known = isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, Tracer)
    if known and value.shape == () and not jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return repr(np.asarray(value).item())
    return f"{value.dtype}[{', '.join(map(str, value.shape))}]"


def _short_tree(value: Any) -> str:
    leaves = jax.tree.leaves(value)
    arrays = [leaf for leaf in leaves if hasattr(leaf, "shape")]
    if len(arrays) < len(leaves) or not leaves:
        return repr(value) if len(repr(value)) <= 60 else f"<{type(value).__name__} of {len(value)}>"
    return f"<{len(arrays)} arrays, {sum(math.prod(leaf.shape) for leaf in arrays):,} numbers>"
