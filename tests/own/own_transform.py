"""A transform of one's own, in one file."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from tfg_jax import Denoised, Model, struct
from tfg_jax.declare import child, number
from tfg_jax.guidance.classifier_free.base import Transform


@struct.dataclass
class Shrunk(Transform):
    """Denoised estimates drawn towards 0; eps is kept.

        x0' = share x0

    Cost an evaluation: that of the model inside.
    Reduces to: the model itself at share = 1.

    Cite: CFG
    """

    model: Model = child(help="any model")
    share: ArrayLike = number(default=0.9, low=0.0, high=1.0, per_sample=True, help="what is kept")

    def __call__(self, x, t, cond=None):
        denoised = self.model(x, t, cond)
        return Denoised(jnp.asarray(self.share) * denoised.x0, denoised.eps, denoised.memory)
