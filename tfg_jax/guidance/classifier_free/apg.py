"""Adaptive projected guidance (Sadat et al., ICLR 2025, arXiv 2410.02416), in the paper's form.

    d    = cond - uncond + momentum d_before            d <- d min(1, radius / |d|)
    out  = cond + w (d_across + eta d_along)            d_along = <d, cond> / |cond|^2 cond,  d_across = d - d_along

d_before is the d of the sampler step before, carried from step to step. Norms and products are over one sample. Acts on
x0, as the paper does, unless told. Cost an evaluation: 2 network forwards, in one batched call.
Reduces to: `CFG` at eta = 1, momentum = None, radius = None; the conditional model at w = 0.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_choice, safe_norm
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import Transform, Weight, branches_of, level_of, weight_at
from tfg_jax.guidance.classifier_free.spaces import SPACES, Space, read, write
from tfg_jax.per_sample import check_model_number


@struct.dataclass
class APG(Transform):
    """Adaptive projected guidance of ``model``.

    Attributes:
        model: a conditional model with a null condition.
        w: as in `CFG`.
        eta: share of the part along the conditional prediction, which saturates; 0 in the paper (traced).
        momentum: usually negative, -0.5 in the paper (traced); None leaves it out and needs no memory.
        radius: largest norm of d, > 0 (traced), in units of the data and growing with the root of the number of
            entries; None does not bound it.
        space: where it acts.
        batched: both branches in one call of the network.
        memory: d of the step before and the inner model's memory, set by the sampling loop.
    """

    model: Model
    w: Weight = 1.0
    eta: ArrayLike = 0.0
    momentum: ArrayLike | None = -0.5
    radius: ArrayLike | None = None
    space: Space = struct.field(pytree_node=False, default="x0")
    batched: bool = struct.field(pytree_node=False, default=True)
    memory: PyTree = None

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for numbers that are not finite, a radius <= 0, or an unknown space."""
        Transform.check(self, conditional, num_samples)
        check_model_number("eta", self.eta, num_samples)
        check_model_number("momentum", self.momentum, num_samples)
        check_model_number("radius", self.radius, num_samples, low=0.0, strict=True)
        check_choice("space", self.space, SPACES)

    @property
    def _remembers(self) -> bool:
        return self.momentum is not None and self.w is not None

    def begin(self, x: Array) -> PyTree:
        """Nothing moved yet."""
        inner = self.model.begin(x)
        return (jnp.zeros_like(x), inner) if self._remembers else inner

    def at(self, memory: PyTree) -> Any:
        """The transform remembering ``memory``."""
        if not self._remembers:
            return Transform.at(self, memory)
        return self.replace(memory=memory, model=self.model.at(memory[1]))  # type: ignore[attr-defined]

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate; without a condition the model's own."""
        if self.w is None or cond is None:
            return self.model(x, t, cond)
        level = level_of(self.model, x, t)
        towards, away = branches_of(self.model, x, t, (cond, None), self.batched)
        base = read(towards, level, self.space)
        d = base - read(away, level, self.space)
        memory = towards.memory
        if self.momentum is not None:
            before, _ = (jnp.zeros_like(x), None) if self.memory is None else self.memory
            d = (d + self.momentum * before).astype(x.dtype)
            memory = (d, memory)
        if self.radius is not None:
            norm = safe_norm(d)
            d = d * jnp.where(norm > self.radius, self.radius / jnp.where(norm > 0, norm, 1.0), 1.0)
        square = jnp.sum(base * base)
        along = jnp.sum(d * base) / jnp.where(square > 0, square, 1.0) * base
        step = weight_at(self.w, level) * ((d - along) + self.eta * along)
        out = write((base + step).astype(x.dtype), x, level, self.space)
        return towards.replace(x0=out.x0, eps=out.eps, memory=memory)  # type: ignore[attr-defined]
