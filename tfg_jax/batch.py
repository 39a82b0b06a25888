"""The one place that maps the sample axis.

Chunks have a fixed shape: they are padded, so the number of samples never changes numerics or triggers a new
compilation of the network. Data whose sample axis is split over devices stays where it is: samples need nothing of each
other, and a chunk takes as many of each device's samples as of every other's.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree


def map_samples(fn: Callable[[PyTree], PyTree], per_sample: PyTree, num_samples: int, chunk: int | None) -> PyTree:
    """``fn`` of every sample, ``chunk`` at a time.

    Args:
        fn: a function of one sample's data.
        per_sample: its data, leaves (num_samples, ...); None leaves are passed as None.
        num_samples: number of samples, >= 1.
        chunk: samples computed together; None is all of them. A multiple of the devices, if the data is split.

    Returns:
        The outputs with leading axis num_samples.
    """
    if chunk is None:
        return jax.vmap(fn)(per_sample)
    chunks = -(-num_samples // chunk)
    padding = chunks * chunk - num_samples

    def split(leaf: jax.Array) -> jax.Array:
        padded = jnp.concatenate([leaf, jnp.repeat(leaf[:1], padding, axis=0)]) if padding else leaf
        return padded.reshape(chunk, chunks, *leaf.shape[1:]).swapaxes(0, 1)

    def join(leaf: jax.Array) -> jax.Array:
        return leaf.swapaxes(0, 1).reshape(chunk * chunks, *leaf.shape[2:])[:num_samples]

    return jax.tree.map(join, jax.lax.map(jax.vmap(fn), jax.tree.map(split, per_sample)))


def on_any_mesh(fn: Callable[..., PyTree], per_sample: PyTree) -> Callable[..., PyTree]:
    """``fn``, whose results have the sample axis first, for data that may be split over a mesh with explicit axes.

    Such a mesh wants the sharding of every intermediate array. Here the compiler finds them, as on meshes with
    automatic axes, and only the results' is said: split as the first leaf of ``per_sample`` that is.

    Args:
        fn: a function of arrays and pytrees, to be called with all of them as arguments, none closed over.
        per_sample: those of its arguments with leaves (n, ...), one entry a sample.

    Returns:
        ``fn`` itself where nothing is split over explicit axes.
    """
    shardings = [jax.typeof(leaf).sharding for leaf in jax.tree.leaves(per_sample)]
    split = next((each for each in shardings if each.spec and each.spec[0] is not None), None)
    if split is None:
        return fn
    axis = split.spec[0]
    return jax.sharding.auto_axes(fn, axes=axis, out_sharding=NamedSharding(split.mesh, PartitionSpec(axis)))
