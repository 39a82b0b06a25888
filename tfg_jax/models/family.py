"""Architectures as folders of weights name them: a `Family` says once what a folder holds and what is made of it.

    {"name": "mine", "architecture": "unet2d.UNet2D", "network": {...}, "schedule": {"type": "VPCosine"}, ...}

"unet2d.UNet2D" is the entry "UNet2D" of `FAMILIES` in `tfg_jax/models/unet2d/convert.py`, imported when it is asked
for; "mymodule:MINE" is a `Family` of your own, `MINE` in the module `mymodule`, if whoever loads the weights allows it.
"""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax import constructors, schedules, struct
from tfg_jax import denoiser as denoisers
from tfg_jax.denoiser import Denoiser, Prediction
from tfg_jax.models import arrays as named
from tfg_jax.models.config import FIX, NetworkConfig, is_count, need, need_choice, need_shape
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.schedule_json import schedule_from_dict

NETWORK_TIMES = {
    "unit": denoisers.unit_time,
    "thousand": denoisers.thousand_time,
    "index": denoisers.index_time,
    "log_sigma": denoisers.log_sigma_time,
}


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a folder holds: `network` is checked, `values` are the other entries of its config.json, not yet."""

    family: "Family"
    network: Any
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]
    allow: Collection[str] = ()

    @property
    def options(self) -> dict[str, Any]:
        """`denoiser_options` of the values."""
        return denoiser_options(self.values, self.allow)

    def module(self, *arguments: Any) -> tuple[Any, PyTree]:
        """Graph and parameters, without ever computing an initialization; `arguments` follow the configuration."""
        build = lambda: self.family.network(self.network, *arguments, rngs=nnx.Rngs(0))  # noqa: E731
        module = named.fill_nnx(nnx.eval_shape(build), self.arrays)
        module.eval()
        graphdef, params = nnx.split(module)
        return graphdef, nnx.to_pure_dict(params)


@struct.dataclass
class OneSample:
    """A method of a batched NNX network as a function `(params, *inputs)` of one sample; hashable, so jit caches it."""

    graphdef: Any = struct.field(pytree_node=False)
    method: str = struct.field(pytree_node=False, default="__call__")
    pack: int = struct.field(pytree_node=False, default=1)
    shape: tuple[int, ...] | None = struct.field(pytree_node=False, default=None)  # None: the network takes any size

    def __call__(self, params: PyTree, x: Array, *rest: Any) -> Array:
        if self.shape is not None and x.shape != self.shape:
            raise ValueError(f"the network reads samples of shape {self.shape}, got {x.shape}; resize or crop them")
        x = pack(x, self.pack) if self.pack > 1 else x
        inputs = [jnp.asarray(leaf)[None] for leaf in (x, *rest) if leaf is not None]
        out = getattr(nnx.merge(self.graphdef, params), self.method)(*inputs)[0]
        return unpack(out, self.pack) if self.pack > 1 else out


def denoiser_options(values: dict[str, Any], allow: Collection[str] = ()) -> dict[str, Any]:
    """What `from_fn` takes beside function and parameters, and `pack`, read from config.json and checked."""
    schedule, shape = schedule_from_dict(values["schedule"], allow), need_shape(values["shape"])
    k = values.get("pack", 1)
    need_choice("network_time", values["network_time"], NETWORK_TIMES)
    need_choice("prediction", values["prediction"], get_args(Prediction))
    if values["network_time"] == "index" and not isinstance(schedule, schedules.Discrete):
        raise ValueError(f"network_time='index' needs a Discrete schedule, not {type(schedule).__name__}; {FIX}")
    need("pack", k, is_count(k), "an integer >= 1")
    divides = k == 1 or (len(shape) == 3 and shape[0] % k == shape[1] % k == 0)
    need("pack", k, divides, f"a divisor of both sides of shape={list(shape)}")
    for key, low in (("num_classes", 1), ("null_cond", 0)):
        need(key, values[key], values[key] is None or is_count(values[key], low), f"an integer >= {low} or null")
    return {
        "schedule": schedule, "prediction": values["prediction"], "shape": shape, "pack": k,
        "network_time": NETWORK_TIMES[values["network_time"]],
        "num_classes": values["num_classes"], "null_cond": values["null_cond"],
    }  # fmt: skip


def denoiser(stored: Stored, one_sample: Callable[[Any], Callable] | None = None) -> Denoiser:
    """The denoiser of a network that is called as `network(x, t_network, cond)` on batches.

    one_sample: the network's graph -> `apply(params, x, t_network, cond)` of one sample, for one that is not.
    """
    options = stored.options
    graphdef, params = stored.module()
    k = options.pop("pack")
    return constructors.from_fn(one_sample(graphdef) if one_sample else OneSample(graphdef, pack=k), params, **options)


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        config: its configuration, the entry "network" of config.json.
        network: `network(config, rngs=...)`, the Flax NNX module of it.
        model: makes the library's object of what a folder holds, by default a `Denoiser`; checks `Stored.values`.
    """

    config: type[NetworkConfig]
    network: Callable[..., nnx.Module]
    model: Callable[[Stored], Any] = denoiser


def build(values: dict[str, Any], arrays: dict[str, np.ndarray], allow: Collection[str] = ()) -> Any:
    """The model of a folder's configuration and arrays; ValueError or KeyError unless every value fits."""
    family = find(values["architecture"], allow)
    network = family.config.from_dict(values["network"], "network")
    if network.num_layers > len(arrays):  # the construction would keep busy for long
        raise ValueError(
            f"network asks for {network.num_layers} layers, but the weights hold {len(arrays)} arrays; {FIX}"
        )
    return family.model(Stored(family, network, values, arrays, allow))


def find(architecture: Any, allow: Collection[str] = ()) -> Family:
    """The family of an architecture's name. Raises ValueError if there is none, or its module is not in `allow`."""
    known = isinstance(architecture, str) and re.fullmatch(r"(\w+)\.(\w+)|([\w.]+):(\w+)", architecture)
    if known and known[3]:
        if known[3] not in allow:
            raise ValueError(
                f"architecture={architecture!r} is code outside of the library; if you trust it, give "
                f"allow=[{known[3]!r}]"
            )
        family = getattr(importlib.import_module(known[3]), known[4], None)
        need("architecture", architecture, isinstance(family, Family), "the name of a Family in a module")
        return family  # type: ignore[return-value]
    folders = [each.name for each in pkgutil.iter_modules([str(Path(__file__).parent)]) if each.ispkg]
    folder = known[1] if known else None
    need("architecture", architecture, folder in folders, f"a network in one of {', '.join(folders)}, or 'module:NAME'")
    families = importlib.import_module(f"tfg_jax.models.{folder}.convert").FAMILIES
    need_choice("architecture", architecture, [f"{folder}.{name}" for name in families])
    return families[known[2]]  # type: ignore[index]
