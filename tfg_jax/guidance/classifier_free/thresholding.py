"""Dynamic thresholding."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, number
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import Transform, level_of
from tfg_jax.guidance.classifier_free.spaces import write


@struct.dataclass
class DynamicThresholding(Transform):
    """Dynamic thresholding (Imagen, Saharia et al., NeurIPS 2022, arXiv 2205.11487).

        q = clip(quantile(|x0|, percentile), 1, largest),          x0' = clip(x0, -q, q) / q

    over the entries of one sample, for data in [-1, 1]; eps is recomputed from x0'. Acts on x0. Wrap the guided model.
    Cost an evaluation: that of the model inside.
    Reduces to: clipping to [-1, 1] at largest = 1.

    @inproceedings{saharia2022imagen,
      title = {Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding},
      author = {Saharia, Chitwan and Chan, William and Saxena, Saurabh and Li, Lala and Whang, Jay and Denton, Emily and
                Ghasemipour, Kamyar and Gontijo Lopes, Raphael and Karagol Ayan, Burcu and Salimans, Tim and
                Ho, Jonathan and Fleet, David J. and Norouzi, Mohammad},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2022},
      eprint = {2205.11487}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(help="a model of data in [-1, 1], usually a guided one")
    percentile: ArrayLike = number(default=0.995, low=0.0, high=1.0, per_sample=True, help="of the entries of |x0|")
    largest: ArrayLike | None = number(
        default=None, low=1.0, per_sample=True, help="upper bound of the threshold; None has none"
    )
    space = "x0"

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The estimate with its x0 thresholded; a CFG++ model keeps the eps it re-noises with."""
        denoised = self.model(x, t, cond)
        bound = jnp.clip(jnp.quantile(jnp.abs(denoised.x0), self.percentile), 1.0, self.largest)
        x0 = (jnp.clip(denoised.x0, -bound, bound) / bound).astype(x.dtype)
        eps = write(x0, x, level_of(self.model, x, t), "x0").eps if self.paired else denoised.eps
        return denoised.replace(x0=x0, eps=eps)  # type: ignore[attr-defined]
