"""Perp-Neg: further conditions act across the main one alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, count, number, static
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import BATCHED, Transform, W, Weight, check_class
from tfg_jax.guidance.classifier_free.spaces import write
from tfg_jax.per_sample import PerSample, check_model_number
from tfg_jax.schedules import Level


@struct.dataclass
class PerpNeg(Transform):
    """Perp-Neg (Armandpour et al. 2023, arXiv 2304.04968): further conditions act across the main one alone.

        d_k = eps(x_t, c_k) - eps(x_t)              perp(d; y) = d - <d, y> / |y|^2 y
        out = eps(x_t) + (1 + w) (d_main + sum_k weight_k perp(d_k; d_main))

    weight_k < 0 moves away from c_k, > 0 towards it. Products are over one sample. Acts on eps; as the d_k of every
    space are multiples of one another by one number, the result is the same in all.
    Cost an evaluation: K + 2 network forwards, in one batched call.
    Reduces to: `CFG` at weights 0.

    @misc{armandpour2023perpneg,
      title = {Re-imagine the Negative Prompt Algorithm: Transform {2D} Diffusion into {3D}, Alleviate {Janus}
               Problem and Beyond},
      author = {Armandpour, Mohammadreza and Sadeghian, Ali and Zheng, Huangjie and Sadeghian, Amir and Zhou, Mingyuan},
      year = {2023},
      eprint = {2304.04968}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(help="a class-conditional model with a null condition; cond is the main condition")
    others: PyTree = child(help="(K,) further classes, or (n, K) as PerSample; or trees of leaves (K, ...)")
    weights: ArrayLike | PerSample = number(
        per_sample=True, help="(K,) their weights, or (n, K) as PerSample; negative moves away"
    )
    w: Weight = number(default=1.0, per_sample=True, help=W)
    num_others: int = count(default=1, help="K")
    batched: bool = static(default=True, help=BATCHED)
    space = "eps"

    def _shape_of(self, name: str) -> tuple[int, ...]:
        return (self.num_others,) if name == "weights" else ()

    def check_settings(self) -> None:
        """Raise ValueError for classes out of range and others that are not as many as said."""
        if self.w is None:
            raise ValueError("others have no effect with w=None; give w or use the model itself")
        check_class("others", self.others, self.model)
        for value in self._others():
            shape = np.shape(value.values)[1:] if isinstance(value, PerSample) else np.shape(value)
            if shape[:1] != (self.num_others,):
                raise ValueError(f"others has shape {shape} a sample, num_others={self.num_others} needs that many")

    def _others(self) -> list[Any]:
        """The leaves of the other conditions, of which those of each sample are one."""
        return jax.tree.leaves(self.others, is_leaf=lambda node: isinstance(node, PerSample))

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for what does not fit the run; see `Transform.check`."""
        Transform.check(self, conditional, num_samples)
        for value in self._others():
            each = np.shape(value.values)[1:] if isinstance(value, PerSample) else np.shape(value)
            check_model_number("others", value, num_samples, each=each)

    def _given(self) -> tuple[bool, ...]:
        return (True, False, *[True] * self.num_others)

    def conditions(self, cond: PyTree) -> tuple[PyTree, ...]:
        """The main condition, none, and the others."""
        cond = jax.tree.map(jnp.asarray, cond)
        other = lambda k: jax.tree.map(lambda each, c: jnp.asarray(each)[k].astype(c.dtype), self.others, cond)  # noqa: E731
        return (cond, None, *map(other, range(self.num_others)))

    def combine(self, x: Array, level: Level, w: Any, towards: Denoised, away: Denoised, *others: Denoised) -> Denoised:
        """The main difference, and of the others what is across it."""
        weights = jnp.asarray(self.weights)
        main = total = towards.eps - away.eps
        square = jnp.sum(main * main)
        for k, other in enumerate(others):
            d = other.eps - away.eps
            total = total + weights[k] * (d - jnp.sum(d * main) / jnp.where(square > 0, square, 1.0) * main)
        out = write((away.eps + (1.0 + w) * total).astype(x.dtype), x, level, "eps")
        return towards.replace(x0=out.x0, eps=out.eps)  # type: ignore[attr-defined]
