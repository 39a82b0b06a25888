"""Classifier-free guidance."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, number, static
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import BATCHED, MODEL, Transform, W, Weight, check_class, extrapolate
from tfg_jax.schedules import Level


@struct.dataclass
class CFG(Transform):
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

        eps' = (1 + w) eps(x_t, c) - w eps(x_t)             a condition against: eps(x_t, negative) in place of eps(x_t)

    which approximates p(x | c) p(c | x)^w at every level. Acts alike in every space, since its weights sum to 1.
    Cost an evaluation: 2 network forwards, in one batched call.
    Reduces to: the conditional model at w = 0 or None, the unconditional one at w = -1; classifier guidance with the
    implicit classifier p(x | c) / p(x).

    @misc{ho2022cfg,
      title = {Classifier-Free Diffusion Guidance},
      author = {Ho, Jonathan and Salimans, Tim},
      year = {2022},
      eprint = {2207.12598}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(help=MODEL)
    w: Weight = number(default=1.0, per_sample=True, help=W)
    negative: PyTree = child(default=None, help="a condition to move away from; one for all samples, or PerSample")
    batched: bool = static(default=True, help=BATCHED)

    def check_settings(self) -> None:
        """Raise ValueError for a negative condition without effect, or one that is no class of the model."""
        if self.negative is None:
            return
        if self.w is None:
            raise ValueError("negative has no effect with w=None; give w or drop negative")
        # An array is data, and may hold a 0 among others.
        if isinstance(self.w, int | float) and self.w == 0:
            raise ValueError("negative has no effect with w=0, which is the conditional model; give w or drop negative")
        check_class("negative", self.negative, self.model)

    def _given(self) -> tuple[bool, ...]:
        return (True, self.negative is not None)

    def conditions(self, cond: PyTree) -> tuple[PyTree, ...]:
        """The condition, and the one to move away from."""
        return (cond, self.negative)

    def combine(self, x: Array, level: Level, w: Any, towards: Denoised, away: Denoised) -> Denoised:
        """`extrapolate`."""
        return extrapolate(w, towards, away)
