"""Whether a network's table of classes has a row for a class; indexing in JAX clamps, and would read its last row."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from jaxtyping import PyTree

from tfg_jax.checks import check_count

MOST = 64
"""Known values with more entries are not followed: an index is small."""
LOOPS = ("scan", "while", "cond")


def check_class_table(
    fn: Callable[..., Any], params: PyTree, sample: PyTree, num_classes: int | None, null_cond: int | None
) -> None:
    """Raise ValueError for a null condition out of range, and for a class that the network's table has no row for.

    Args:
        fn: ``(params, x, t_network, cond) -> raw`` of one sample, hashable.
        params: its weights.
        sample: shapes and dtypes of one sample.
        num_classes: number of classes; None for a network without, where there is nothing to check.
        null_cond: the class meaning "no condition", if there is one.
    """
    if num_classes is None:
        return
    if null_cond is not None:
        check_count("null_cond", null_cond, low=0)
        if null_cond > num_classes:
            raise ValueError(f"null_cond={null_cond} must lie in 0..{num_classes}: a class, or one row more than all")
    null = null_cond is not None and null_cond >= num_classes
    last = null_cond if null else num_classes - 1
    inputs = Structs((params, sample, jax.ShapeDtypeStruct((), "float32")))
    try:
        rows = rows_without(fn, inputs, last)
    except Exception:  # whatever else is wrong with a network is told when it runs
        return
    if rows is not None:
        name = f"null_cond={null_cond}" if null else f"num_classes={num_classes}"
        raise ValueError(
            f"{name} asks for class {last}, but the network's table of classes has {rows} rows, so its last would be "
            f"read; give a class in 0..{rows - 1}, or the weights of all classes"
        )


@lru_cache(maxsize=64)
def rows_without(fn: Callable[..., Any], inputs: Any, value: int) -> int | None:
    """Rows of a table that ``fn(*inputs, class)`` reads beyond its end if the class is ``value``; None if it does not.

    The program of ``fn`` is traced, not run; indices that depend on more than the class are not looked at.

    Args:
        fn: hashable, of arrays.
        inputs: `Structs` of its arguments but the last.
        value: the class, an int.
    """
    program = jax.make_jaxpr(fn)(*inputs.unflatten(), jax.ShapeDtypeStruct((), "int32"))
    jaxpr = program.jaxpr
    with jax.ensure_compile_time_eval():
        return _follow(jaxpr, {jaxpr.invars[-1]: np.int32(value)})[0]


class Structs:
    """Shapes and dtypes of a pytree, as a key of a cache."""

    def __init__(self, tree: Any):
        leaves, self._structure = jax.tree.flatten(tree)
        self._leaves = tuple((np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves)

    def __hash__(self) -> int:
        return hash((self._structure, self._leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structs) and (self._structure, self._leaves) == (other._structure, other._leaves)

    def unflatten(self) -> Any:
        """The pytree, of `jax.ShapeDtypeStruct`."""
        return self._structure.unflatten([jax.ShapeDtypeStruct(*leaf) for leaf in self._leaves])


def _follow(jaxpr: Any, known: dict[Any, Any]) -> tuple[int | None, list[Any]]:
    """Rows of the first table read beyond its end, and what is known of the outputs, given some known variables."""
    value_of = lambda atom: atom.val if isinstance(atom, Literal) else known.get(atom)  # noqa: E731
    for step in jaxpr.eqns:
        values = [value_of(atom) for atom in step.invars]
        rows = _beyond(step, values)
        inner = step.params.get("jaxpr", step.params.get("call_jaxpr"))
        outputs: list[Any] = [None] * len(step.outvars)
        if inner is not None and step.primitive.name not in LOOPS:
            body = getattr(inner, "jaxpr", inner)
            given = {var: v for var, v in zip(body.invars, values, strict=True) if v is not None}
            inside, outputs = _follow(body, given)
            rows = inside if rows is None else rows
        elif values and not step.effects and all(v is not None for v in values) and _small(step):
            result = step.primitive.bind(*values, **step.params)
            outputs = list(result) if step.primitive.multiple_results else [result]
        if rows is not None:
            return rows, []
        known.update((var, v) for var, v in zip(step.outvars, outputs, strict=True) if v is not None)
    return None, [value_of(atom) for atom in jaxpr.outvars]


def _small(step: Any) -> bool:
    return all(var.aval.size <= MOST for var in step.outvars)


def _beyond(step: Any, values: list[Any]) -> int | None:
    """Rows of the table that a step reads beyond its end at a known index."""
    table = step.invars[0].aval.shape if step.invars else ()
    match step.primitive.name:
        case "gather" if values[1] is not None:
            axes = step.params["dimension_numbers"].start_index_map
            index = np.asarray(values[1]).reshape(-1, len(axes)).max(0)
        case "dynamic_slice":
            axes, index = range(len(table)), [0 if v is None else int(v) for v in values[1:]]
        case _:
            return None
    for axis, at in zip(axes, index, strict=True):
        if at + step.params["slice_sizes"][axis] > table[axis]:
            return table[axis]
    return None
