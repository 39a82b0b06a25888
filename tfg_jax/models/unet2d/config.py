"""Configuration of the UNet, with the keys and defaults of the diffusers `UNet2DModel`."""

import dataclasses

from tfg_jax.models.config import NetworkConfig

ACTIVATIONS = ("silu", "swish", "mish", "gelu", "relu")
ALLOWED: dict[str, tuple] = {
    "time_embedding_type": ("positional", "fourier", "learned"),
    "mid_block_type": ("UNetMidBlock2D",),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet"),
    "upsample_type": ("conv", "resnet"),
    "act_fn": ACTIVATIONS,
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None, "timestep", "identity"),
}
DOWN_BLOCKS = ("DownBlock2D", "AttnDownBlock2D")
UP_BLOCKS = ("UpBlock2D", "AttnUpBlock2D")


@dataclasses.dataclass(frozen=True)
class UNet2DConfig(NetworkConfig):
    """Architecture of a `UNet2D`.

    Two readings follow diffusers to the letter: `downsample_type` and `upsample_type` act in attention blocks only
    (plain blocks always use a convolution); `attn_norm_num_groups` and `add_attention` act in the middle block only,
    whose attention has no normalization if `resnet_time_scale_shift="scale_shift"` and `attn_norm_num_groups` is None.
    """

    sample_size: int | tuple[int, int] | None = None  # pixels; information only, the network takes any size
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False  # maps an input in [0, 1] to [-1, 1]
    time_embedding_type: str = "positional"
    time_embedding_dim: int | None = None  # None: 4 * block_out_channels[0]
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D")
    mid_block_type: str = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1.0  # the middle block's sums are divided by it
    downsample_padding: int = 1  # 0: pad one pixel at the right and bottom only
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | None = 8  # channels of one head; None: one head
    norm_num_groups: int = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    add_attention: bool = True
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    num_train_timesteps: int | None = None

    @property
    def num_layers(self) -> int:
        """Residual blocks on the way down."""
        return self.layers_per_block * len(self.block_out_channels)

    @property
    def time_channels(self) -> int:
        """Width of the time (and class) embedding handed to every residual block."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def class_conditional(self) -> bool:
        """True if the network must be called with `cond`."""
        return self.num_class_embeds is not None or self.class_embed_type is not None

    def validate(self) -> None:
        """Raise ValueError naming the first key this implementation cannot honour."""
        for key, allowed in ALLOWED.items():
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key}={getattr(self, key)!r} is not supported; use one of {allowed}.")
        levels = len(self.block_out_channels)
        for key, allowed in (("down_block_types", DOWN_BLOCKS), ("up_block_types", UP_BLOCKS)):
            blocks = getattr(self, key)
            if unknown := [block for block in blocks if block not in allowed]:
                raise ValueError(f"{key} has {unknown[0]!r}; the supported blocks are {allowed}.")
            if len(blocks) != levels or not levels:
                raise ValueError(f"{key} has {len(blocks)} entries; give one a width of block_out_channels ({levels}).")
        for key in ("in_channels", "out_channels", "layers_per_block", "norm_num_groups", *self._optional_sizes()):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{key}={value!r} must be a positive integer.")
        if bad := [c for c in self.block_out_channels if not isinstance(c, int) or c < 1 or c % self.norm_num_groups]:
            raise ValueError(
                f"block_out_channels={self.block_out_channels} has {bad[0]}; make every width a positive multiple of "
                f"norm_num_groups={self.norm_num_groups}."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout} must be in [0, 1).")
        if self.norm_eps <= 0 or self.mid_block_scale_factor == 0:
            raise ValueError(
                f"norm_eps={self.norm_eps} must be positive and mid_block_scale_factor={self.mid_block_scale_factor} "
                "not zero."
            )
        if self.class_embed_type is not None and self.num_class_embeds is not None:
            raise ValueError(
                f"num_class_embeds={self.num_class_embeds} has no effect with class_embed_type="
                f"{self.class_embed_type!r}; give one of the two."
            )
        if (self.time_embedding_type == "learned") != (self.num_train_timesteps is not None):
            raise ValueError(
                f"num_train_timesteps={self.num_train_timesteps} does not fit time_embedding_type="
                f"{self.time_embedding_type!r}; give it for 'learned' and only there."
            )

    def _optional_sizes(self) -> list[str]:
        keys = ("time_embedding_dim", "attention_head_dim", "attn_norm_num_groups", "num_class_embeds")
        return [key for key in (*keys, "num_train_timesteps") if getattr(self, key) is not None]
