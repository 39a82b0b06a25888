"""Configurations of the image classifiers."""

import dataclasses
import math

from tfg_jax.models.config import NetworkConfig, need_positive


@dataclasses.dataclass(frozen=True)
class GuideConfig(NetworkConfig):
    """`side`: of the image; `widths[i]`: channels of stage i, at 1/2, 1/4, ... of it; `blocks[i]`: residual blocks."""

    side: int = 28
    channels: int = 1
    num_classes: int = 10
    widths: tuple[int, ...] = (24, 48, 64)
    blocks: tuple[int, ...] = (1, 1, 1)

    def __post_init__(self):
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError(f"blocks must have one count a width, got widths={self.widths} and blocks={self.blocks}.")

    def validate(self) -> None:
        """Raise ValueError naming the first number out of range."""
        need_positive(self, num_classes=2, blocks=0)

    @property
    def num_layers(self) -> int:
        """Convolutions that enter a stage, and residual blocks."""
        return len(self.widths) + sum(self.blocks)

    @property
    def num_features(self) -> int:
        """Size of the flattened last map; every stage rounds the halved side up."""
        return self.widths[-1] * math.ceil(self.side / 2 ** len(self.widths)) ** 2


@dataclasses.dataclass(frozen=True)
class NoisyGuideConfig(GuideConfig):
    """As GuideConfig; `embedding`: size of the log-SNR embedding (even)."""

    embedding: int = 64

    def __post_init__(self):
        super().__post_init__()
        if self.embedding < 2 or self.embedding % 2:
            raise ValueError(f"embedding must be an even number >= 2, got {self.embedding}.")


@dataclasses.dataclass(frozen=True)
class EvaluatorConfig(NetworkConfig):
    """`side`: image side, a multiple of 4; `width`: channels at half resolution, doubled at a quarter; `depths`: blocks
    at each; `num_features`: F."""

    side: int = 28
    channels: int = 1
    num_classes: int = 10
    width: int = 32
    depths: tuple[int, int] = (1, 2)
    num_features: int = 64

    def __post_init__(self):
        if self.side < 4 or self.side % 4:
            raise ValueError(f"side must be a multiple of 4, got {self.side}.")

    def validate(self) -> None:
        """Raise ValueError naming the first number out of range."""
        need_positive(self, num_classes=2, depths=0)

    @property
    def num_layers(self) -> int:
        """Blocks."""
        return sum(self.depths)
