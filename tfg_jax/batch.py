"""The one place that maps the sample axis.

Chunks have a fixed shape and one compiled program: they are padded, so the number of samples never changes numerics or
compiles the network anew. Data whose sample axis is split over devices stays where it is: samples need nothing of each
other, and a chunk takes as many of each device's samples as of every other's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count, is_concrete, show
from tfg_jax.loops import as_varying, varying_over

MOST_PROGRAMS = 64
"""Each takes 6 to 15 MB."""

LAST_INDEX = 2**31
"""Indices of samples are int32."""


def map_samples(fn: Callable[[PyTree], PyTree], per_sample: PyTree, shared: PyTree = None) -> PyTree:
    """``fn`` of every sample, all at once.

    Args:
        fn: a function of one sample's data.
        per_sample: its data, leaves (n, ...); None leaves are passed as None.
        shared: what else gives samples their own course where `jax.shard_map` varies it over devices.

    Returns:
        The outputs with leading axis n.
    """
    # Of one type inside shard_map: a gradient in data that is the same everywhere would be summed over the devices.
    return jax.vmap(fn)(as_varying(per_sample, varying_over((per_sample, shared))))


def in_chunks(fn: Callable[..., PyTree], shared: tuple, per_sample: PyTree, chunk: int | None) -> PyTree:
    """``fn(*shared, per_sample)``, a compiled function that maps all samples it is given, ``chunk`` of them at a time.

    Args:
        fn: a jitted function whose results have the sample axis first.
        shared: its other arguments, the same for all samples; none is closed over.
        per_sample: the samples' data, leaves (n, ...).
        chunk: samples computed together; None is all of them. A multiple of the devices, if the data is split.

    Returns:
        The results of all samples.
    """
    bound_programs(fn)
    if chunk is None:
        return on_any_mesh(fn, *shared, per_sample)(*shared, per_sample)
    n = jax.tree.leaves(per_sample)[0].shape[0]
    if under_trace(shared, per_sample):

        def mapped(*given: Any) -> PyTree:
            return _join(jax.lax.map(lambda part: fn(*given[:-1], part), _split(given[-1], chunk)), n)

        return on_any_mesh(mapped, *shared, per_sample)(*shared, per_sample)
    results = []
    for index in range(-(-n // chunk)):
        pick = partial(_part, index=index, chunk=chunk)
        part = on_any_mesh(pick, per_sample)(per_sample)
        # One after another: chunks bound the memory.
        results.append(jax.block_until_ready(on_any_mesh(fn, *shared, part)(*shared, part)))
    return on_any_mesh(partial(_together, n=n), results)(results)


class Batching(NamedTuple):
    """Which samples there are, how many are computed together, and where.

    ``index_offset`` is the global index of the first; ``chunk`` and ``sharding`` as in `tfg_jax.sample`.
    """

    num_samples: int
    index_offset: ArrayLike = 0
    chunk: int | None = None
    sharding: NamedSharding | None = None

    def check(self) -> None:
        """Raise ValueError for counts that are no whole numbers in range, and for a sharding that splits no samples."""
        n: int = self.num_samples
        offset: Any = self.index_offset
        check_count("num_samples", n)
        if n > LAST_INDEX:
            raise ValueError(f"num_samples={show(n)} must be at most {LAST_INDEX}, the indices there are")
        if self.chunk is not None:
            check_count("chunk", self.chunk)
        if not isinstance(offset, jax.Array):
            check_count("index_offset", offset, low=0)
        elif offset.shape != () or not jnp.issubdtype(offset.dtype, jnp.integer):
            raise ValueError(f"index_offset has shape {offset.shape} and dtype {offset.dtype}; give one integer >= 0")
        if is_concrete(offset) and not 0 <= int(offset) <= LAST_INDEX - n:
            raise ValueError(f"index_offset={int(offset)} must lie in 0..{LAST_INDEX - n}")
        check_sharding(self.sharding, num_samples=n, chunk=self.chunk)

    def run(self, fn: Callable[..., PyTree], shared: tuple, data: dict[str, Any]) -> PyTree:
        """``fn(*shared, per_sample)`` of all samples, ``per_sample`` being ``data`` and each one's global "index"."""
        # On the host where nothing is traced: two programs fewer to run before the one that is asked for.
        known = all(map(is_concrete, jax.tree.leaves((shared[0], data, self.index_offset))))
        offset: Any = np.int32(self.index_offset) if known else self.index_offset  # type: ignore[arg-type]
        indices = (np if known else jnp).arange(self.num_samples, dtype=np.int32) + offset
        return in_chunks(fn, shared, placed({"index": indices, **data}, self.sharding), self.chunk)

    def compiled(self, fn: Any, shared: tuple, data: dict[str, Any]) -> Any:
        """The program that `run` takes, compiled and not run."""
        size = self.chunk or self.num_samples
        together = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype),
            {"index": np.zeros(self.num_samples, np.int32), **data},
        )
        return fn.lower(*shared, together).compile()


def bound_programs(fn: Any) -> None:
    """Forget the programs of a jitted function, or of a `partial` of one, once there are `MOST_PROGRAMS` of them."""
    jitted = fn.func if isinstance(fn, partial) else fn
    if jitted._cache_size() >= MOST_PROGRAMS:
        warnings.warn(
            f"{MOST_PROGRAMS} programs were compiled for {jitted.__name__} and are dropped, which bounds their memory; "
            "if a function (objective, network, summary) is defined anew for each call, each is a program of its own: "
            "define it once and hand its data over as target=, or as params of tfg_jax.objectives.from_fn(fn, params)",
            stacklevel=4,
        )
        jitted.clear_cache()


def check_sharding(sharding: Any, **counts: int | None) -> None:
    """Raise ValueError unless ``sharding`` splits its first axis over devices, each with as many of all counts."""
    if sharding is None:
        return
    axis = sharding.spec[0] if isinstance(sharding, NamedSharding) and sharding.spec else None
    if axis is None:
        raise ValueError(
            f"sharding={sharding!r:.60} splits no samples; pass NamedSharding(mesh, PartitionSpec(axis)) of a mesh axis"
        )
    parts = prod(sharding.mesh.shape[name] for name in (axis if isinstance(axis, tuple) else (axis,)))
    for name, count in counts.items():
        if count is not None and count % parts:
            raise ValueError(f"{name}={count} cannot be split over the {parts} devices of sharding; give a multiple")


def placed(per_sample: PyTree, sharding: NamedSharding | None) -> PyTree:
    """The samples' data split over the devices as ``sharding`` splits its first axis; as it is with None."""
    if sharding is None:
        return per_sample
    first = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))
    explicit = AxisType.Explicit in sharding.mesh.axis_types

    def put(leaf: Any) -> Array:
        # Of a value that is traced, `device_put` would say nothing to the compiler.
        traced = isinstance(leaf, Tracer) and not explicit
        return jax.lax.with_sharding_constraint(leaf, first) if traced else jax.device_put(leaf, first)

    return jax.tree.map(put, per_sample)


def under_trace(*trees: PyTree) -> bool:
    """Whether values of these are not known yet, or none that is computed now would be."""
    return any(isinstance(leaf, Tracer) for leaf in [*jax.tree.leaves(trees), jnp.zeros(())])


def on_any_mesh(fn: Callable[..., PyTree], *arguments: PyTree) -> Callable[..., PyTree]:
    """``fn``, whose results have the sample axis first, for arguments that may be split over a mesh of explicit axes.

    Such a mesh wants the sharding of every intermediate array. Here the compiler finds them, as on meshes with
    automatic axes, and only the results' is said: split as the first axis of the samples' data is.

    Args:
        fn: a function of arrays and pytrees, none closed over.
        *arguments: what it will be called with; the last is the samples' data, one entry a sample.

    Returns:
        ``fn`` itself where nothing is on explicit axes.
    """
    *shared, per_sample = arguments
    data = _on_explicit_axes(per_sample)
    every = data or _on_explicit_axes(shared)
    if not every:
        return fn
    mesh = every[0].mesh
    explicit = tuple(
        name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit
    )
    axis = next((each.spec[0] for each in data if each.spec and each.spec[0] is not None), None)
    return jax.sharding.auto_axes(fn, axes=explicit, out_sharding=NamedSharding(mesh, PartitionSpec(axis)))


def _on_explicit_axes(tree: PyTree) -> list[NamedSharding]:
    shardings = []
    for part in jax.tree.leaves(tree, is_leaf=lambda node: node is not tree and hasattr(type(node), "is_struct")):
        if hasattr(type(part), "is_struct"):
            shardings += struct.once(part, _on_explicit_axes)
        elif isinstance(part, jax.Array) and not (
            is_concrete(part) and isinstance(part.sharding, SingleDeviceSharding)
        ):
            sharding = jax.typeof(part).sharding
            if AxisType.Explicit in sharding.mesh.axis_types:
                shardings.append(sharding)
    return shardings


def _split(per_sample: PyTree, chunk: int) -> PyTree:
    """Leaves (chunks, chunk, ...), each chunk with as many samples of each part of the data as of every other."""

    def split(leaf: Array) -> Array:
        chunks = -(-leaf.shape[0] // chunk)
        padding = chunks * chunk - leaf.shape[0]
        padded = jnp.concatenate([leaf, jnp.repeat(leaf[:1], padding, axis=0)]) if padding else leaf
        return padded.reshape(chunk, chunks, *leaf.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(split, per_sample)


def _join(results: PyTree, n: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])[:n], results)


@partial(jax.jit, static_argnames="chunk")
def _part(per_sample: PyTree, index: int | Array, *, chunk: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], _split(per_sample, chunk))


@partial(jax.jit, static_argnames="n")
def _together(results: list[PyTree], *, n: int) -> PyTree:
    return _join(jax.tree.map(lambda *parts: jnp.stack(parts), *results), n)
