"""A molecule as one array: (29, 3 + features), positions before features, and its atom count as the condition.

So a molecule network is a `Denoiser` like any other. Rows beside the atoms, and the mean of the positions, are noise
that the network neither sees nor is moved by: its clean estimate is 0 there, so they vanish as t goes to 0.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.models.egnn.config import EGNNConfig


@struct.dataclass
class OneMolecule:
    """An `EGNN` as `(params, x, t_network, cond) -> x0` of one molecule; hashable, so jit caches it.

    x: (max_atoms, 3 + features). t_network: log(sigma / alpha) / 4, as `denoiser.log_sigma_time`. cond: atom count.
    """

    graphdef: Any = struct.field(pytree_node=False)
    config: EGNNConfig = struct.field(pytree_node=False)

    def __call__(self, params: PyTree, x: Float[Array, "n c"], t_network: Array, cond: Any) -> Float[Array, "n c"]:
        if cond is None:
            raise ValueError("cond=None leaves the size of the molecule open; give cond= its atom count.")
        if x.ndim != 2 or x.shape[1] != 3 + self.config.num_features:
            raise ValueError(f"the network reads (atoms, {3 + self.config.num_features}) arrays, got {x.shape}.")
        mask = jnp.arange(x.shape[0]) < cond
        network = nnx.merge(self.graphdef, params)
        positions, features = network(x[None, :, :3], x[None, :, 3:], mask[None], -8.0 * t_network[None])
        return jnp.concatenate([positions[0], features[0]], -1)
