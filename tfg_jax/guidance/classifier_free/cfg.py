"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

    eps' = (1 + w) eps(x_t, c) - w eps(x_t)             a condition against: eps(x_t, negative) in place of eps(x_t)

which approximates p(x | c) p(c | x)^w at every level. Acts alike in every space, since its weights sum to 1.
Cost an evaluation: 2 network forwards, in one batched call.
Reduces to: the conditional model at w = 0 or None, the unconditional one at w = -1; classifier guidance with the
implicit classifier p(x | c) / p(x).
"""

from __future__ import annotations

from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import (
    Transform,
    Weight,
    branches_of,
    check_class,
    extrapolate,
    level_of,
    weight_at,
)


@struct.dataclass
class CFG(Transform):
    """Classifier-free guidance of ``model``.

    Attributes:
        model: a conditional model with a null condition.
        w: the paper's weight, any finite number (traced), `PerSample`, or a function of the log-SNR; None is off.
        negative: a condition to move away from, in place of none; one for all samples, or `PerSample`.
        batched: both branches in one call of the network; False calls it twice, which agrees to round-off.
    """

    model: Model
    w: Weight = 1.0
    negative: PyTree = None
    batched: bool = struct.field(pytree_node=False, default=True)

    def _given(self) -> tuple[bool, ...]:
        return (True, self.negative is not None)

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for bad weights or conditions; see `Transform.check`."""
        Transform.check(self, conditional, num_samples)
        if self.w is None and self.negative is not None:
            raise ValueError("negative has no effect with w=None; give w or drop negative")
        # An array is data, and may hold a 0 among others.
        if self.negative is not None and isinstance(self.w, int | float) and self.w == 0:
            raise ValueError("negative has no effect with w=0, which is the conditional model; give w or drop negative")
        check_class("negative", self.negative, self.model)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate; without a condition the model's own."""
        if self.w is None or cond is None:
            return self.model(x, t, cond)
        towards, away = branches_of(self.model, x, t, (cond, self.negative), self.batched)
        return extrapolate(weight_at(self.w, level_of(self.model, x, t)), towards, away)
