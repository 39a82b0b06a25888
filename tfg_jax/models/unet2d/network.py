"""A UNet with the architecture, configuration keys and one-to-one parameters of the diffusers `UNet2DModel`.

Ho et al. 2020 (arXiv 2006.11239) and Song et al. 2021 (arXiv 2011.13456) describe the family. Attribute names follow
the diffusers state dict, so pretrained weights map by name and a transpose; activations are channels last.
"""

import math

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from tfg_jax.models.unet2d.blocks import DownBlock, GroupNorm, MidBlock, UpBlock, conv3x3
from tfg_jax.models.unet2d.config import UNet2DConfig

__all__ = ["Frequencies", "UNet2D", "UNet2DConfig", "timestep_embedding"]


class Frequencies(nnx.Variable):
    """Random Fourier frequencies: part of the weights, never trained."""


def timestep_embedding(
    t: Float[Array, " b"], dim: int, flip_sin_to_cos: bool = False, freq_shift: int = 0
) -> Float[Array, "b dim"]:
    """Sinusoidal embedding [sin(t f_j), cos(t f_j)] (cosines first if flipped), padded with a zero if `dim` is odd.

    f_j = 10000^(-j / (dim // 2 - freq_shift)), j = 0 .. dim // 2 - 1 (arXiv 2006.11239; 1706.03762).
    """
    half = dim // 2
    frequencies = jnp.exp(-math.log(10000.0) * jnp.arange(half, dtype=t.dtype) / (half - freq_shift))
    angles = t[:, None] * frequencies
    waves = [jnp.cos(angles), jnp.sin(angles)] if flip_sin_to_cos else [jnp.sin(angles), jnp.cos(angles)]
    return jnp.pad(jnp.concatenate(waves, axis=-1), ((0, 0), (0, dim % 2)))


class FourierProjection(nnx.Module):
    """Fourier features [sin, cos](2 pi w log t) of random frequencies w ~ N(0, 16^2); t > 0 is a noise level."""

    def __init__(self, size: int, *, rngs: nnx.Rngs, scale: float = 16.0):
        self.weight = Frequencies(scale * nnx.initializers.normal(1.0)(rngs.params(), (size,)))

    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b f"]:
        angles = 2 * math.pi * jnp.log(t)[:, None] * self.weight[...]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimestepEmbedding(nnx.Module):
    """Two linear maps with SiLU between them."""

    def __init__(self, features_in: int, features: int, *, rngs: nnx.Rngs, dtype: DTypeLike | None):
        self.linear_1 = nnx.Linear(features_in, features, dtype=dtype, rngs=rngs)
        self.linear_2 = nnx.Linear(features, features, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.linear_2(nnx.silu(self.linear_1(x)))


class UNet2D(nnx.Module):
    """Residual UNet with optional attention, time and class conditioning; sizes need not be multiples of two.

    `unet(x, t, cond)`: x (B, H, W, in_channels), t (B,) in the units of the weights (noise levels for "fourier",
    indices for "learned"), cond (B,) class labels or None -> (B, H, W, out_channels) in the dtype of x.

    Args:
        config: the architecture.
        rngs: keys for the initial parameters (float32) and, with dropout, its masks (`unet.eval()` turns it off).
        zero_init: start as the zero map with identity residual blocks (conv_out, every conv2 and to_out at zero).
        dtype: of the activations, for example bfloat16; None follows x. Statistics stay in float32 or wider.
    Raises:
        ValueError: if the config, the shape of x, or the presence of cond does not fit.
    """

    def __init__(self, config: UNet2DConfig, *, rngs: nnx.Rngs, zero_init: bool = True, dtype: DTypeLike | None = None):
        config.validate()
        self.config, self.dtype = config, dtype
        widths = config.block_out_channels
        last = len(widths) - 1
        kw: dict = {"rngs": rngs, "dtype": dtype}
        self.conv_in = conv3x3(config.in_channels, widths[0], **kw)
        time_features = widths[0]
        if config.time_embedding_type == "fourier":
            self.time_proj, time_features = FourierProjection(widths[0], rngs=rngs), 2 * widths[0]
        elif config.time_embedding_type == "learned":
            self.time_proj = nnx.Embed(config.num_train_timesteps or 0, widths[0], rngs=rngs)
        self.time_embedding = TimestepEmbedding(time_features, config.time_channels, **kw)
        if config.num_class_embeds is not None:
            init = nnx.initializers.normal(1.0)
            self.class_embedding = nnx.Embed(
                config.num_class_embeds, config.time_channels, embedding_init=init, dtype=dtype, rngs=rngs
            )
        elif config.class_embed_type == "timestep":
            self.class_embedding = TimestepEmbedding(time_features, config.time_channels, **kw)

        kw["zero_init"] = zero_init
        self.down_blocks = nnx.List([])
        for i, (kind, features) in enumerate(zip(config.down_block_types, widths, strict=True)):
            before, attention = widths[max(i - 1, 0)], kind == "AttnDownBlock2D"
            self.down_blocks.append(DownBlock(config, before, features, attention=attention, last=i == last, **kw))
        self.mid_block = MidBlock(config, **kw)
        self.up_blocks = nnx.List([])
        upward = widths[::-1]
        for i, (kind, features) in enumerate(zip(config.up_block_types, upward, strict=True)):
            before, after, attention = upward[max(i - 1, 0)], upward[min(i + 1, last)], kind == "AttnUpBlock2D"
            self.up_blocks.append(UpBlock(config, after, before, features, attention=attention, last=i == last, **kw))
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[0], config.norm_eps, rngs=rngs)
        self.conv_out = conv3x3(widths[0], config.out_channels, rngs=rngs, dtype=dtype, zero=zero_init)

    def __call__(
        self, x: Float[Array, "b h w c"], t: Num[Array, " b"], cond: Num[Array, " b ..."] | None = None
    ) -> Float[Array, "b h w out"]:
        if x.ndim != 4 or x.shape[-1] != self.config.in_channels:
            raise ValueError(f"x has shape {x.shape}; give (batch, height, width, {self.config.in_channels}).")
        wide = jnp.promote_types(x.dtype, jnp.float32)
        t = jnp.broadcast_to(jnp.asarray(t), x.shape[:1])
        h = x.astype(self.dtype or x.dtype)
        emb = self._embed(t, cond, wide, h.dtype)
        h = self.conv_in(2 * h - 1 if self.config.center_input_sample else h)
        skips = [h]
        for block in self.down_blocks:
            h = block(h, emb, skips)
        h = self.mid_block(h, emb)
        for block in self.up_blocks:
            h = block(h, emb, skips)
        h = self.conv_out(nnx.silu(self.conv_norm_out(h)))
        if self.config.time_embedding_type == "fourier":  # the network's last layer predicts sigma times the score
            h = h / t.astype(wide)[:, None, None, None]
        return h.astype(x.dtype)

    def _embed(self, t: Array, cond: Array | None, wide: DTypeLike, dtype: DTypeLike) -> Array:
        if self.config.class_conditional and cond is None:
            raise ValueError("cond=None, but this network is class-conditional; give one class label a sample.")
        if not self.config.class_conditional and cond is not None:
            raise ValueError("cond is given, but this network has no class embedding; pass cond=None.")
        # features of the time in full precision, products in the network's
        emb = self.time_embedding(self._project(t, wide).astype(dtype))
        if cond is None:
            return emb
        if self.config.class_embed_type == "identity":
            return emb + cond.astype(dtype)
        if self.config.class_embed_type == "timestep":
            cond = self._project(cond, wide).astype(dtype)
        return emb + self.class_embedding(cond).astype(dtype)

    def _project(self, t: Array, wide: DTypeLike) -> Array:
        config = self.config
        if config.time_embedding_type == "positional":
            return timestep_embedding(
                t.astype(wide), config.block_out_channels[0], config.flip_sin_to_cos, config.freq_shift
            )
        if config.time_embedding_type == "learned":
            return self.time_proj(jnp.round(t).astype(jnp.int32)).astype(wide)
        return self.time_proj(t.astype(wide))
