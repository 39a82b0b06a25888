"""Frozen pytree dataclasses, of which two are one structure only if they are one type.

Same use as ``flax.struct``, whose classes (as all of ``jax.tree_util.register_dataclass``) compare equal in jaxlib 0.10
when their numbers of leaves and their static values agree, whatever their types. The hash tells them apart most of the
time only, so a compiled function called with a `Heun` now and then ran the program of an `Euler`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def field(*, pytree_node: bool = True, **options: Any) -> Any:
    """A dataclass field; ``pytree_node=False`` makes it static: hashable, part of the structure.

    Args:
        pytree_node: whether the field holds leaves.
        **options: as `dataclasses.field`.
    """
    return dataclasses.field(metadata={"pytree_node": pytree_node}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def dataclass(cls: type[T]) -> type[T]:
    """``cls`` as a frozen dataclass and pytree node, with ``replace(**fields)``."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data = tuple(f.name for f in fields if f.metadata.get("pytree_node", True))
    static = tuple(f.name for f in fields if not f.metadata.get("pytree_node", True))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(node: Any) -> tuple[tuple, tuple]:
        return tuple(getattr(node, name) for name in data), tuple(getattr(node, name) for name in static)

    def flatten_with_keys(node: Any) -> tuple[tuple, tuple]:
        leaves, aux = flatten(node)
        return tuple(zip(keys, leaves, strict=True)), aux

    def unflatten(aux: tuple, leaves: Any) -> Any:
        return cls(**dict(zip(data, leaves, strict=True)), **dict(zip(static, aux, strict=True)))

    cls.replace = dataclasses.replace  # type: ignore[attr-defined]
    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
