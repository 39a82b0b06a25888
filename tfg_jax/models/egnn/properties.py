"""Properties of a molecule by the trunk of the equivariant network: invariant, as they are read off atoms' scalars."""

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from tfg_jax.domains.molecules import centered
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.network import Trunk, noise_level

TYPICAL_ATOMS = 18.0  # so that a sum over atoms, which fits extensive properties, begins at unit size


class PropertyNet(Trunk):
    """`num_properties` numbers of each molecule, any number of batch axes, in the units of training (standardised)."""

    def __init__(self, config: EGNNConfig, num_properties: int, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.hidden = nnx.Linear(config.width, config.width, rngs=rngs)
        self.out = nnx.Linear(config.width, num_properties, rngs=rngs)

    def __call__(
        self, positions: Float[Array, "*b n 3"], features: Float[Array, "*b n f"], mask: Bool[Array, "*b n"],
        log_snr: Float[Array, "*b"],
    ) -> Float[Array, "*b p"]:  # fmt: skip
        """The expected properties of the clean molecule; arguments as `EGNN`, `log_snr` = +inf for a clean one."""
        real = mask.astype(positions.dtype)[..., None]
        alpha, sigma = noise_level(log_snr.astype(positions.dtype))
        h, _, _ = self.embed(centered(positions, real), features, real, alpha, sigma)
        return (self.out(jax.nn.silu(self.hidden(h))) * real).sum(-2) / TYPICAL_ATOMS
