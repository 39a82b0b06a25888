"""Several conditions, each with its own weight."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, count, number, static
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import BATCHED, Transform, Weight, mix
from tfg_jax.schedules import Level


@struct.dataclass
class ComposedCFG(Transform):
    """Several conditions, each with its own weight (Liu et al., ECCV 2022, arXiv 2206.01714).

        eps' = eps(x_t) + sum_k (1 + w_k) (eps(x_t, c_k) - eps(x_t))

    for p(x) prod_k p(c_k | x)^(1 + w_k): w_k = 0 asks for c_k, -1 ignores it, below -1 moves away from it. Acts alike
    in every space.
    Cost an evaluation: K + 1 network forwards, in one batched call.
    Reduces to: `CFG` for one condition.

    @inproceedings{liu2022composable,
      title = {Compositional Visual Generation with Composable Diffusion Models},
      author = {Liu, Nan and Li, Shuang and Du, Yilun and Torralba, Antonio and Tenenbaum, Joshua B.},
      booktitle = {European Conference on Computer Vision},
      year = {2022},
      eprint = {2206.01714}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(
        help="a class-conditional model with a null condition; cond is (n, K), K classes, or leaves (n, K, ...)"
    )
    w: Weight = number(
        per_sample=True, help="(K,) weights, (n, K) as PerSample, or a function of the log-SNR that gives (K,)"
    )
    num_conds: int = count(help="K")
    batched: bool = static(default=True, help=BATCHED)

    def check_settings(self) -> None:
        """Raise ValueError for no weights."""
        if self.w is None:
            raise ValueError(f"w=None must hold {self.num_conds} weights, one for each condition")

    @property
    def cond_shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (self.num_conds,)

    def _given(self) -> tuple[bool, ...]:
        return (*[True] * self.num_conds, False)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (self.num_conds,)

    def conditions(self, cond: PyTree) -> tuple[PyTree, ...]:
        """Each of the (K,) conditions of one sample, and none."""
        return (*[jax.tree.map(lambda leaf: leaf[k], cond) for k in range(self.num_conds)], None)  # noqa: B023

    def combine(self, x: Array, level: Level, w: Any, *branches: Denoised) -> Denoised:
        """The weighted mean, in which the unconditional estimate has what is left of 1."""
        scales = 1.0 + jnp.asarray(w)
        return mix((*[scales[k] for k in range(self.num_conds)], 1.0 - jnp.sum(scales)), branches)
