"""Small image classifiers: one that guides, a different one that evaluates, and one that reads noisy images.

All are Flax NNX modules on batches, `net(x: (B, H, W, C) in [-1, 1]) -> logits (B, K)`, with `net.features(x): (B, F)`.
No BatchNorm anywhere: it would let the samples of one batch see each other. The guide is called several times a guided
step, so it halves the resolution at once and uses no normalization at all (on CPUs a norm costs more than a
convolution); zero-initialized residual branches keep it trainable. Activations are smooth: guidance follows gradients.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from tfg_jax.models.classifiers.config import EvaluatorConfig, GuideConfig, NoisyGuideConfig
from tfg_jax.models.conv import conv_general_dilated

# Log-SNRs are clipped to what training with uniform times visits: beyond it an image is all noise or all data.
LOG_SNR_RANGE = (-14.0, 8.0)
LOG_SNR_PERIODS = (160.0, 2.5)


class ResidualBlock(nnx.Module):
    """x + conv(silu(conv(silu(x)))), the second convolution zero at first; an embedding scales and shifts between."""

    def __init__(self, width: int, *, embedding: int | None = None, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(width, width, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs)
        self.conv2 = nnx.Conv(
            width, width, (3, 3), kernel_init=nnx.initializers.zeros, conv_general_dilated=conv_general_dilated,
            rngs=rngs,
        )  # fmt: skip
        self.modulate = None if embedding is None else nnx.Linear(embedding, 2 * width, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], e: Float[Array, "b e"] | None = None) -> Float[Array, "b h w c"]:
        h = self.conv1(jax.nn.silu(x))
        if self.modulate is not None and e is not None:
            scale, shift = jnp.split(self.modulate(e)[:, None, None, :], 2, axis=-1)
            h = h * (1 + scale) + shift
        return x + self.conv2(jax.nn.silu(h))


class _ResidualTrunk(nnx.Module):
    """Stages of residual blocks, each entered by a stride-2 convolution; features are the last map, flattened.

    The images are centred: a head that reads positions learns faster than one that reads the mean over space.
    """

    def __init__(self, config: GuideConfig, *, embedding: int | None = None, rngs: nnx.Rngs):
        inputs = (config.channels, *config.widths[:-1])
        kernels = (5, *(3 for _ in config.widths[1:]))
        self.downs = nnx.List(
            nnx.Conv(i, o, (k, k), strides=(2, 2), conv_general_dilated=conv_general_dilated, rngs=rngs)
            for i, o, k in zip(inputs, config.widths, kernels, strict=True)
        )
        self.stages = nnx.List(
            nnx.List(ResidualBlock(width, embedding=embedding, rngs=rngs) for _ in range(count))
            for width, count in zip(config.widths, config.blocks, strict=True)
        )

    def __call__(self, x: Float[Array, "b h w c"], e: Float[Array, "b e"] | None = None) -> Float[Array, "b f"]:
        for down, blocks in zip(self.downs, self.stages, strict=True):
            x = down(x)
            for block in blocks:
                x = block(x, e)
        return jax.nn.silu(x).reshape(x.shape[0], -1)


class GuideNet(nnx.Module):
    """Residual classifier of clean images, cheap enough to be differentiated at every guided step."""

    def __init__(self, config: GuideConfig = GuideConfig(), *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = _ResidualTrunk(config, rngs=rngs)
        self.head = nnx.Linear(config.num_features, config.num_classes, rngs=rngs)

    def features(self, x: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Features (B, F) of images in [-1, 1]."""
        return self.trunk(x)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        """Logits (B, K) of images in [-1, 1]."""
        return self.head(self.features(x))


class NoisyGuideNet(nnx.Module):
    """Residual classifier of noisy images x_t = alpha x_0 + sigma eps (classifier guidance, arXiv 2105.05233).

    It reads x_t / sqrt(alpha^2 + sigma^2) and the log-SNR log(alpha^2 / sigma^2), so one network serves every schedule.
    """

    def __init__(self, config: NoisyGuideConfig = NoisyGuideConfig(), *, rngs: nnx.Rngs):
        self.config = config
        size = config.embedding
        self.embed1 = nnx.Linear(size, size, rngs=rngs)
        self.embed2 = nnx.Linear(size, size, rngs=rngs)
        self.trunk = _ResidualTrunk(config, embedding=size, rngs=rngs)
        self.head = nnx.Linear(config.num_features, config.num_classes, rngs=rngs)

    def features(self, x: Float[Array, "b h w c"], log_snr: Float[Array, " b"]) -> Float[Array, "b f"]:
        """Features (B, F) of scaled noisy images; `log_snr` (B,), infinities allowed."""
        e = log_snr_embedding(log_snr, self.config.embedding)
        e = jax.nn.silu(self.embed2(jax.nn.silu(self.embed1(e))))
        return self.trunk(x, e)

    def __call__(self, x: Float[Array, "b h w c"], log_snr: Float[Array, " b"]) -> Float[Array, "b k"]:
        """Logits (B, K) of scaled noisy images; `log_snr` (B,), infinities allowed."""
        return self.head(self.features(x, log_snr))


def log_snr_embedding(log_snr: Float[Array, " b"], size: int) -> Float[Array, "b {size}"]:
    """Sines and cosines of the clipped log-SNR at `size / 2` periods, spaced geometrically over LOG_SNR_PERIODS."""
    l = jnp.clip(log_snr, *LOG_SNR_RANGE)
    periods = jnp.geomspace(*LOG_SNR_PERIODS, size // 2, dtype=l.dtype)
    phase = 2 * jnp.pi * l[:, None] / periods
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)


class MixerBlock(nnx.Module):
    """x + MLP(LayerNorm(conv(x))): a convolution mixes space, a pointwise gelu MLP mixes channels."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(width, width, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.expand = nnx.Linear(width, 2 * width, rngs=rngs)
        self.project = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.project(jax.nn.gelu(self.expand(self.norm(self.conv(x)))))


class EvaluatorNet(nnx.Module):
    """ConvNeXt-like classifier that scores samples; unlike the guide in stem, blocks, norm, activation and head.

    Non-overlapping patch embeddings change the resolution, dense 3x3 convolutions take the place of depthwise ones
    (which CPUs run slowly), and the head reads the whole quarter-resolution map instead of its mean.
    """

    def __init__(self, config: EvaluatorConfig = EvaluatorConfig(), *, rngs: nnx.Rngs):
        self.config = config
        width = config.width
        self.stem = nnx.Conv(
            config.channels, width, (4, 4), strides=(2, 2), conv_general_dilated=conv_general_dilated, rngs=rngs
        )
        self.blocks1 = nnx.List(MixerBlock(width, rngs=rngs) for _ in range(config.depths[0]))
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.down = nnx.Conv(
            width, 2 * width, (2, 2), strides=(2, 2), conv_general_dilated=conv_general_dilated, rngs=rngs
        )
        self.blocks2 = nnx.List(MixerBlock(2 * width, rngs=rngs) for _ in range(config.depths[1]))
        self.norm2 = nnx.LayerNorm(2 * width, rngs=rngs)
        self.to_features = nnx.Linear(2 * width * (config.side // 4) ** 2, config.num_features, rngs=rngs)
        self.head = nnx.Linear(config.num_features, config.num_classes, rngs=rngs)

    def features(self, x: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Features (B, F) of images in [-1, 1]: the layer before the logits, for Fréchet distances."""
        x = self.stem(x)
        for block in self.blocks1:
            x = block(x)
        x = self.down(self.norm1(x))
        for block in self.blocks2:
            x = block(x)
        return jax.nn.gelu(self.to_features(self.norm2(x).reshape(x.shape[0], -1)))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        """Logits (B, K) of images in [-1, 1]."""
        return self.head(self.features(x))
