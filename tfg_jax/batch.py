"""The one place that maps the sample axis.

Chunks have a fixed shape: the last one is padded, so the number of samples never changes numerics or triggers a new
compilation of the network.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def map_samples(fn: Callable[[PyTree], PyTree], per_sample: PyTree, num_samples: int, chunk: int | None) -> PyTree:
    """``fn`` of every sample, ``chunk`` at a time.

    Args:
        fn: a function of one sample's data.
        per_sample: its data, leaves (num_samples, ...); None leaves are passed as None.
        num_samples: number of samples, >= 1.
        chunk: samples computed together; None is all of them.

    Returns:
        The outputs with leading axis num_samples.
    """
    if chunk is None:
        return jax.vmap(fn)(per_sample)
    chunks = -(-num_samples // chunk)
    padding = chunks * chunk - num_samples

    def split(leaf: jax.Array) -> jax.Array:
        padded = jnp.concatenate([leaf, jnp.repeat(leaf[:1], padding, axis=0)]) if padding else leaf
        return padded.reshape(chunks, chunk, *leaf.shape[1:])

    outputs = jax.lax.map(jax.vmap(fn), jax.tree.map(split, per_sample))
    return jax.tree.map(lambda leaf: leaf.reshape(chunks * chunk, *leaf.shape[2:])[:num_samples], outputs)
