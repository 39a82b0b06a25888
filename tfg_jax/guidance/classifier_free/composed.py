"""Several conditions, each with its own weight (Liu et al., ECCV 2022, arXiv 2206.01714).

    eps' = eps(x_t) + sum_k (1 + w_k) (eps(x_t, c_k) - eps(x_t))

for p(x) prod_k p(c_k | x)^(1 + w_k): w_k = 0 asks for c_k, -1 ignores it, below -1 moves away from it.
Acts alike in every space. Cost an evaluation: K + 1 network forwards, in one batched call.
Reduces to: `CFG` for one condition.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import Transform, Weight, branches_of, level_of, mix, weight_at


@struct.dataclass
class ComposedCFG(Transform):
    """Guidance towards K conditions at once; ``cond`` is (n, K), K classes a sample, or a pytree of leaves (n, K, ...).

    Attributes:
        model: a class-conditional model with a null condition.
        w: (K,) weights (traced), (n, K) as `PerSample`, or a function of the log-SNR that gives (K,).
        num_conds: K, >= 1.
        batched: all branches in one call of the network.
    """

    model: Model
    w: Weight
    num_conds: int = struct.field(pytree_node=False)
    batched: bool = struct.field(pytree_node=False, default=True)

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

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for weights that are not one a condition; see `Transform.check`."""
        check_count("num_conds", self.num_conds)
        if self.w is None:
            raise ValueError(f"w=None must hold {self.num_conds} weights, one for each condition")
        Transform.check(self, conditional, num_samples)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate of one sample; ``cond`` is (K,)."""
        if cond is None:
            return self.model(x, t, None)
        conds = [jax.tree.map(lambda leaf: leaf[k], cond) for k in range(self.num_conds)]  # noqa: B023
        scales = 1.0 + jnp.asarray(weight_at(self.w, level_of(self.model, x, t), self.weight_shape))
        each = branches_of(self.model, x, t, (*conds, None), self.batched)
        return mix((*[scales[k] for k in range(self.num_conds)], 1.0 - jnp.sum(scales)), each)
