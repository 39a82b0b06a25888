"""A molecule as one array: (29, 3 + features), positions before features, and its atom count as the condition.

So a molecule network is a `Denoiser` like any other, of the domain `tfg_jax.domains.molecules`: rows beside the atoms,
and the mean of the positions, are 0 in noise and samples. Without the domain they are noise that the network neither
sees nor is moved by.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.denoiser import Denoiser
from tfg_jax.domains.molecules import molecules
from tfg_jax.models.config import is_number, need, need_name
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.network import EGNN
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.models.family import Family, Stored, denoiser
from tfg_jax.schedules import RectifiedFlow


@struct.dataclass
class OneMolecule:
    """An `EGNN` as `(params, x, t_network, cond) -> x0` of one molecule; hashable, so jit caches it.

    x: (max_atoms, 3 + features). t_network: log(sigma / alpha) / 4, as `denoiser.log_sigma_time`. cond: atom count.
    """

    graphdef: Any = struct.field(pytree_node=False)
    config: EGNNConfig = struct.field(pytree_node=False)
    straight: bool = struct.field(pytree_node=False, default=False)  # alpha + sigma is 1, not alpha^2 + sigma^2

    def __call__(self, params: PyTree, x: Float[Array, "n c"], t_network: Array, cond: Any) -> Float[Array, "n c"]:
        if cond is None:
            raise ValueError("cond=None leaves the size of the molecule open; give cond= its atom count.")
        if x.ndim != 2 or x.shape[1] != 3 + self.config.num_features:
            raise ValueError(f"the network reads (atoms, {3 + self.config.num_features}) arrays, got {x.shape}.")
        if self.straight:  # to the variance-preserving coordinates of the network
            ratio = jnp.exp(4.0 * t_network)  # sigma / alpha; t_network is -inf at the data end
            x = x * (1.0 + ratio) / jnp.sqrt(1.0 + ratio**2)
        mask = jnp.arange(x.shape[0]) < cond
        network = nnx.merge(self.graphdef, params)
        return jnp.concatenate(network(x[:, :3], x[:, 3:], mask, -8.0 * t_network), -1)


def as_flow(model: Denoiser) -> Denoiser:
    """The same molecule model on the straight path x_t = (1 - t) x_0 + t eps of flow matching.

    A Gaussian path is another one seen through a scaling at equal sigma / alpha, so a network that knows its denoised
    estimate at every level is a flow model too: its velocity is eps - x_0 of that estimate.

    Raises ValueError if `model` is not a molecule model in variance-preserving coordinates.
    """
    if not isinstance(model.apply, OneMolecule) or model.apply.straight:
        raise ValueError("model is no variance-preserving molecule model; give one that `load` returns.")
    return model.replace(schedule=RectifiedFlow(), apply=model.apply.replace(straight=True))  # type: ignore[attr-defined]


@struct.dataclass
class PropertyPredictor:
    """A `PropertyNet` as `predictor(x, cond) -> (properties,)` of one clean molecule, in the units of `names`' data.

    Attributes:
        params: the network's weights.
        mean, scale: (properties,) what the network's outputs are multiplied by and added to.
        names: of the properties, in the order of the outputs.
        name: what it is called in reports, and how scoring with the guide is noticed.
    """

    params: PyTree
    mean: Float[Array, " p"]
    scale: Float[Array, " p"]
    graphdef: Any = struct.field(pytree_node=False)
    names: tuple[str, ...] = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)

    def __call__(self, x: Float[Array, "n c"], cond: Any) -> Float[Array, " p"]:
        """x: (max_atoms, 3 + features), as `OneMolecule` returns it; cond: atom count."""
        mask, denoised = jnp.arange(x.shape[0]) < cond, jnp.asarray(jnp.inf, x.dtype)
        network = nnx.merge(self.graphdef, self.params)
        return self.mean + self.scale * network(x[:, :3], x[:, 3:], mask, denoised)


def molecule_denoiser(stored: Stored) -> Denoiser:
    """The denoiser of molecules as one array, their atom count as the condition."""
    net, options = stored.network, stored.options
    shape, atoms = list(options["shape"]), options["shape"][0]
    need("shape", shape, len(shape) == 2 and shape[1] == 3 + net.num_features, f"[atoms, {3 + net.num_features}]")
    for key, value in (("prediction", "x0"), ("network_time", "log_sigma"), ("num_classes", atoms + 1), ("pack", 1)):
        given = stored.values.get(key, 1)
        need(key, given, given == value, f"{value}, as of every molecule network of this shape")
    model: Any = denoiser(stored, lambda graphdef: OneMolecule(graphdef, net))
    return model.replace(domain=molecules(atoms, net.num_features))


def property_predictor(stored: Stored) -> PropertyPredictor:
    """The predictor of the properties that the configuration names, whose means and scales fit."""
    values, names = stored.values, stored.values["properties"]
    right = isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)
    need("properties", names, right, "a list of texts")
    for key in ("mean", "scale"):
        value = values[key]
        right = isinstance(value, list) and len(value) == len(names) and all(map(is_number, value))
        need(key, value, right, f"a list of {len(names)} finite numbers, one a property")
    graphdef, params = stored.module(len(names))
    mean, scale = (jnp.asarray(values[key], jnp.float32) for key in ("mean", "scale"))
    return PropertyPredictor(params, mean, scale, graphdef, tuple(names), need_name(values))


FAMILIES = {
    "EGNN": Family(EGNNConfig, EGNN, molecule_denoiser),
    "PropertyNet": Family(EGNNConfig, PropertyNet, property_predictor),
}
