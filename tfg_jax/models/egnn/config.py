"""Configuration of the equivariant graph network of molecules."""

import dataclasses

from tfg_jax.models.config import NetworkConfig, need, need_positive


@dataclasses.dataclass(frozen=True)
class EGNNConfig(NetworkConfig):
    """Architecture of an `EGNN` and of a `PropertyNet`."""

    num_features: int = 6  # channels of an atom beside its position
    width: int = 128  # channels of an atom inside
    pair_width: int = 32  # channels of a pair of atoms inside
    pair_hidden: int = 64  # channels of the layer inside a pair update
    heads: int = 8  # of the attention over atoms
    vectors: int = 8  # equivariant vectors of an atom
    layers: int = 6
    radial: int = 24  # Gaussians that read a distance
    cutoff: float = 6.0  # Angstrom, where the Gaussians end
    position_scale: float = 1.4  # standard deviation of the data's positions, Angstrom
    feature_scale: float = 0.15  # and of its features
    num_bonds: int = 4  # classes of the auxiliary output: no bond, single, double, triple

    @property
    def num_layers(self) -> int:
        """Updates of pairs, atoms and vectors."""
        return self.layers

    def validate(self) -> None:
        """Raise ValueError unless every value is positive and heads divides width."""
        need_positive(self)
        need("heads", self.heads, self.width % self.heads == 0, f"a divisor of width={self.width}")
