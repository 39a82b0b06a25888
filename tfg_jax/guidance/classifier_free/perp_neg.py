"""Perp-Neg (Armandpour et al. 2023, arXiv 2304.04968): further conditions act across the main one alone.

    d_k = eps(x_t, c_k) - eps(x_t)              perp(d; y) = d - <d, y> / |y|^2 y
    out = eps(x_t) + (1 + w) (d_main + sum_k weight_k perp(d_k; d_main))

weight_k < 0 moves away from c_k, > 0 towards it. Products are over one sample. Acts on eps; as the d_k of every space
are multiples of one another by one number, the result is the same in all.
Cost an evaluation: K + 2 network forwards, in one batched call. Reduces to: `CFG` at weights 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import (
    Transform,
    Weight,
    branches_of,
    check_class,
    check_weight,
    level_of,
    weight_at,
)
from tfg_jax.guidance.classifier_free.spaces import write
from tfg_jax.per_sample import PerSample


@struct.dataclass
class PerpNeg(Transform):
    """Classifier-free guidance with further conditions kept perpendicular to the main one.

    Attributes:
        model: a class-conditional model with a null condition; ``cond`` is the main condition.
        others: (K,) further classes for all samples, or (n, K) as `PerSample`; or pytrees of leaves (K, ...).
        weights: (K,) their weights, or (n, K) as `PerSample`; negative moves away (traced).
        w: as in `CFG`.
        num_others: K, >= 1.
        batched: all branches in one call of the network.
    """

    model: Model
    others: PyTree
    weights: ArrayLike | PerSample
    w: Weight = 1.0
    num_others: int = struct.field(pytree_node=False, default=1)
    batched: bool = struct.field(pytree_node=False, default=True)
    space = "eps"

    def _given(self) -> tuple[bool, ...]:
        return (True, False, *[True] * self.num_others)

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for classes out of range and weights that are not one a class; see `Transform.check`."""
        check_count("num_others", self.num_others)
        Transform.check(self, conditional, num_samples)
        if self.w is None:
            raise ValueError("others have no effect with w=None; give w or use the model itself")
        check_class("others", self.others, self.model)
        is_own = lambda node: isinstance(node, PerSample)  # noqa: E731
        for name, given in (("others", self.others), ("weights", self.weights)):
            for value in jax.tree.leaves(given, is_leaf=is_own):
                shape = np.shape(value.values)[1:] if isinstance(value, PerSample) else np.shape(value)
                if shape[:1] != (self.num_others,) or (name == "weights" and len(shape) > 1):
                    raise ValueError(f"{name} has shape {shape} a sample, num_others={self.num_others} needs that many")
                check_weight(name, value, num_samples, shape)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate; without a condition the model's own."""
        if self.w is None or cond is None:
            return self.model(x, t, cond)
        level = level_of(self.model, x, t)
        weights = jnp.asarray(self.weights)
        other = lambda k: jax.tree.map(lambda each, c: jnp.asarray(each)[k].astype(c.dtype), self.others, cond)  # noqa: E731
        cond = jax.tree.map(jnp.asarray, cond)
        conds = (cond, None, *map(other, range(self.num_others)))
        towards, plain, *rest = branches_of(self.model, x, t, conds, self.batched)
        main = total = towards.eps - plain.eps
        square = jnp.sum(main * main)
        for k, other in enumerate(rest):
            d = other.eps - plain.eps
            total = total + weights[k] * (d - jnp.sum(d * main) / jnp.where(square > 0, square, 1.0) * main)
        out = write((plain.eps + (1.0 + weight_at(self.w, level)) * total).astype(x.dtype), x, level, "eps")
        return towards.replace(x0=out.x0, eps=out.eps)  # type: ignore[attr-defined]
