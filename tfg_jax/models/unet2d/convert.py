"""The UNet as weights on disk: our own as a denoiser, and those of a diffusers `UNet2DModel` into our `UNet2D`.

The names are diffusers', leaves are renamed and kernels transposed.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tfg_jax.denoiser import Denoiser
from tfg_jax.kinds import public
from tfg_jax.models.arrays import fill_streams
from tfg_jax.models.config import need
from tfg_jax.models.family import Family, Stored, denoiser
from tfg_jax.models.unet2d.config import UNet2DConfig
from tfg_jax.models.unet2d.network import Frequencies, UNet2D

LEAF_NAMES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}  # others keep their name
OLD_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@public
def load_diffusers_state(unet: UNet2D, state: Mapping[str, np.ndarray]) -> UNet2D:
    """Fill `unet` in place from a diffusers state dict and return it in evaluation mode; unchanged if it does not fit.

    Args:
        unet: network built from the same configuration; best abstract, `nnx.eval_shape(lambda: UNet2D(...))`, since
            compiling its initializers takes longer than loading.
        state: parameter name -> array, as in the published `diffusion_pytorch_model.safetensors`; attention layers may
            carry their old names (query, key, value, proj_attn).
    Raises:
        ValueError: naming the key, if one is missing, left over, given twice or of another shape.
    """
    source: dict[str, np.ndarray] = {}
    for key, value in state.items():
        if (name := _current_name(key)) in source:
            raise ValueError(f"The state has {name!r} twice, once under its old name {key!r}; remove one of them.")
        source[name] = value
    leaves = nnx.to_flat_state(nnx.state(unet, (nnx.Param, Frequencies)))
    loaded = []
    for path, leaf in leaves:
        name = ".".join((*map(str, path[:-1]), LEAF_NAMES.get(str(path[-1]), str(path[-1]))))
        if name not in source:
            raise ValueError(f"The state lacks {name!r}; build the UNet from the configuration of these weights.")
        value = np.asarray(source.pop(name))
        if path[-1] == "kernel":
            value = value.transpose((2, 3, 1, 0) if value.ndim == 4 else None)
        if value.shape != leaf.shape:
            raise ValueError(
                f"{name!r} has shape {value.shape} in our order where the UNet has {leaf.shape}; "
                "build the UNet from the configuration of these weights."
            )
        loaded.append((path, leaf.replace(jnp.asarray(value, leaf.dtype))))
    if source:
        raise ValueError(
            f"The UNet has no place for {sorted(source)[0]!r}; build it from these weights' configuration."
        )
    nnx.update(unet, nnx.from_flat_state(loaded))
    fill_streams(unet)
    unet.eval()
    return unet


def _current_name(key: str) -> str:
    *path, module, leaf = key.split(".") if key.count(".") else ("", key)
    if "attentions" in path:
        module = OLD_ATTENTION_NAMES.get(module, module)
    return ".".join((*path, module, leaf))


def unet_denoiser(stored: Stored) -> Denoiser:
    """The denoiser of a stored UNet whose channels and classes fit its samples."""
    unet, options = stored.network, stored.options
    shape, k = options["shape"], options["pack"]
    channels = shape[-1] * k**2
    for key in ("in_channels", "out_channels"):
        words = f"{channels}, the channels of shape={list(shape)} at pack={k}"
        need(f"network.{key}", getattr(unet, key), len(shape) == 3 and getattr(unet, key) == channels, words)
    classes, null = options["num_classes"], options["null_cond"]
    if (embeddings := unet.num_class_embeds) is not None:
        words = f"network.num_class_embeds={embeddings}"
        need("num_classes", classes, classes is not None and classes <= embeddings, f"between 1 and {words}")
        need("null_cond", null, null is None or null < embeddings, f"below {words}")
    elif not unet.class_conditional:
        need("num_classes", classes, classes is None, "null, as the network has no class embedding")
        need("null_cond", null, null is None, "null, as the network has no class embedding")
    return denoiser(stored)


FAMILIES = {"UNet2D": Family(UNet2DConfig, UNet2D, unet_denoiser)}
