"""Loops, and data of samples, inside `jax.shard_map`, which types every array by the mesh axes it varies over.

A carry that begins as a constant and becomes data changes that type in the first round, and a gradient with respect to
an array that is the same everywhere is summed over the devices. Outside of `jax.shard_map` nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
from jaxtyping import PyTree

T = TypeVar("T")


def varying_over(tree: PyTree) -> frozenset[Hashable]:
    """The mesh axes of an enclosing `jax.shard_map` that any leaf varies over."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return frozenset()
    return frozenset().union(*_types(tree))


def as_varying(tree: T, axes: frozenset[Hashable]) -> T:
    """``tree`` with every leaf varying over ``axes``, too."""
    if not axes:
        return tree

    def cast(leaf: Any) -> Any:
        missing = tuple(sorted(axes - _varying(leaf), key=str))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree)


def scan(body: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: PyTree) -> Any:
    """`jax.lax.scan` with a carry that varies from the start over what it comes to; ``xs`` has leaves (steps, ...)."""

    def same(carry: Any, x: Any) -> tuple[Any, Any]:
        after, out = body(carry, x)
        return like(after, carry), out

    return jax.lax.scan(same, settled(lambda carry: body(carry, first(xs))[0], init), xs)


def while_loop(condition: Callable[[Any], Any], body: Callable[[Any], Any], init: T) -> T:
    """`jax.lax.while_loop` whose carry varies from the start over what it comes to vary over."""
    return jax.lax.while_loop(condition, lambda carry: like(body(carry), carry), settled(body, init))


def settled(step: Callable[[Any], Any], init: Any) -> Any:
    """``init`` varying over what ``step`` makes of it, leaf by leaf, and so on until nothing is added."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return init
    while True:
        after: list[Any] = []

        def once(carry: Any, after: list[Any] = after) -> None:
            after.append(jax.tree.map(_varying, step(carry)))

        jax.eval_shape(once, init)
        grown = jax.tree.map(as_varying, init, after[0])
        if _types(grown) == _types(init):
            return init
        init = grown


def first(xs: PyTree) -> PyTree:
    """What the first step of a loop is given."""
    return jax.tree.map(lambda leaf: leaf[0], xs)


def _types(tree: PyTree) -> list[frozenset[Hashable]]:
    return [_varying(leaf) for leaf in jax.tree.leaves(tree)]


def _varying(leaf: Any) -> frozenset[Hashable]:
    return jax.typeof(leaf).manual_axis_type.varying


def like(tree: T, other: T) -> T:
    """``tree`` with every leaf varying over what that of ``other`` does, too."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    return jax.tree.map(lambda leaf, as_this: as_varying(leaf, _varying(as_this)), tree, other)
