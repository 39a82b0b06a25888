"""Dynamic thresholding (Imagen, Saharia et al., NeurIPS 2022, arXiv 2205.11487).

    q = clip(quantile(|x0|, percentile), 1, largest),          x0' = clip(x0, -q, q) / q

over the entries of one sample, for data in [-1, 1]; eps is recomputed from x0'. Acts on x0. Wrap the guided model.
Cost an evaluation: that of the model inside. Reduces to: clipping to [-1, 1] at largest = 1.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import Transform, level_of
from tfg_jax.guidance.classifier_free.spaces import write
from tfg_jax.per_sample import check_model_number


@struct.dataclass
class DynamicThresholding(Transform):
    """``model`` with its denoised estimates brought into [-1, 1] without piling up at the bounds.

    Attributes:
        model: a model of data in [-1, 1], usually a guided one.
        percentile: in [0, 1] (traced); 0.995 in the paper.
        largest: upper bound of the threshold, >= 1 (traced); None has none.
    """

    model: Model
    percentile: ArrayLike = 0.995
    largest: ArrayLike | None = None
    space = "x0"
    w = None

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for numbers out of range."""
        self.model.check(conditional, num_samples)
        check_model_number("percentile", self.percentile, num_samples, low=0.0, high=1.0)
        check_model_number("largest", self.largest, num_samples, low=1.0)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The estimate with its x0 thresholded; a CFG++ model keeps the eps it re-noises with."""
        denoised = self.model(x, t, cond)
        bound = jnp.clip(jnp.quantile(jnp.abs(denoised.x0), self.percentile), 1.0, self.largest)
        x0 = (jnp.clip(denoised.x0, -bound, bound) / bound).astype(x.dtype)
        eps = write(x0, x, level_of(self.model, x, t), "x0").eps if self.paired else denoised.eps
        return denoised.replace(x0=x0, eps=eps)  # type: ignore[attr-defined]
