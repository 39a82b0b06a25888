"""Weights by name: the variables of a Flax NNX module as a flat dictionary of arrays, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tfg_jax.kinds import public


@public
def nnx_to_flat(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every variable of a module but its random streams, as {"path.to.leaf": array}."""
    state = nnx.state(module, nnx.Not(nnx.RngState))
    return {_name(path): np.asarray(variable[...]) for path, variable in nnx.to_flat_state(state)}


@public
def fill_nnx(module: nnx.Module, flat: Mapping[str, np.ndarray]) -> nnx.Module:
    """Put the arrays of `nnx_to_flat` into a module (abstract ones from `nnx.eval_shape` too) and return it.

    Raises ValueError, before anything is changed, naming a missing or unexpected array, or a wrong shape or dtype.
    """
    left, filled = dict(flat), []
    for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.RngState))):
        name, leaf = _name(path), variable.get_value()
        if name not in left:
            raise ValueError(f"the weights lack {name!r}; they belong to another network or configuration.")
        array = left.pop(name)
        if array.shape != leaf.shape:
            raise ValueError(f"{name!r} has shape {array.shape} in the weights but {leaf.shape} in the network.")
        if jnp.issubdtype(array.dtype, jnp.floating) != jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{name!r} has dtype {array.dtype} in the weights but {leaf.dtype} in the network.")
        filled.append((path, variable.replace(jnp.asarray(array, leaf.dtype))))
    if left:
        raise ValueError(f"the network has no place for {sorted(left)[0]!r}; the weights belong to another network.")
    nnx.update(module, nnx.from_flat_state(filled))
    fill_streams(module)
    return module


def fill_streams(module: nnx.Module) -> None:
    """Give an abstract module random streams: networks are run without randomness, so any key serves."""
    streams = nnx.state(module, nnx.RngState)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(streams)):
        nnx.update(module, jax.tree.map(_any_stream, streams))


def _any_stream(leaf: Any) -> jax.Array:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key(0) if is_key else jnp.zeros(leaf.shape, leaf.dtype)


def _name(path: tuple) -> str:
    return ".".join(map(str, path))
