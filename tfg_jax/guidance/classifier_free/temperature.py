"""Low-temperature sampling."""

from __future__ import annotations

from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, number
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import Transform, level_of
from tfg_jax.guidance.classifier_free.spaces import write


@struct.dataclass
class LowTemperature(Transform):
    """Low-temperature sampling: the score divided by a temperature, as for p(x)^(1/temperature) at every level.

        eps' = eps / temperature

    The baseline of Ho & Salimans 2022 (arXiv 2207.12598, section 1) and Dhariwal & Nichol 2021 (arXiv 2105.05233,
    appendix G): noise levels no longer agree with the path, and samples blur. Acts on eps.
    Cost an evaluation: that of the model inside.
    Reduces to: the model itself at temperature 1.

    Cite: CFG, ClassifierGuidance
    """

    model: Model = child(help="any model")
    temperature: ArrayLike = number(default=0.9, low=0.0, strict=True, per_sample=True, help="below 1 is colder")
    space = "eps"

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The estimate with its score scaled."""
        denoised = self.model(x, t, cond)
        out = write((denoised.eps / self.temperature).astype(x.dtype), x, level_of(self.model, x, t), "eps")
        return denoised.replace(x0=out.x0, eps=out.eps)  # type: ignore[attr-defined]
