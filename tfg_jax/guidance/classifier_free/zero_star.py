"""CFG-Zero*: an optimal scale of the unconditional velocity, and a zero start."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, count, number, static
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import BATCHED, MEMORY, MODEL, Transform, W, Weight, level_of
from tfg_jax.guidance.classifier_free.spaces import read, write
from tfg_jax.schedules import Level


@struct.dataclass
class CFGZeroStar(Transform):
    """CFG-Zero* (Fan et al. 2025, arXiv 2503.18886): an optimal scale of the unconditional velocity, and a zero start.

        s = <cond, uncond> / |uncond|^2,        out = (1 + w) cond - w s uncond,        0 in the first steps

    for velocities x0 - eps, which on the rectified flow is -dx/dt; products are over one sample. In the first
    ``zero_steps`` sampler steps nothing moves and no network is called.
    Cost an evaluation: 2 network forwards, in one batched call; 0 in the first steps.
    Reduces to: the conditional model at w = 0, zero_steps = 0.

    @misc{fan2025cfgzero,
      title = {{CFG-Zero*}: Improved Classifier-Free Guidance for Flow Matching Models},
      author = {Fan, Weichen and Zheng, Amber Yijia and Yeh, Raymond A. and Liu, Ziwei},
      year = {2025},
      eprint = {2503.18886}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(help=MODEL)
    w: Weight = number(default=1.0, per_sample=True, help=W)
    zero_steps: int = count(default=1, low=0, help="sampler steps at the noisy end in which nothing moves")
    batched: bool = static(default=True, help=BATCHED)
    memory: PyTree = child(default=None, help=MEMORY)
    space = "velocity"

    @property
    def _counts(self) -> bool:
        return self.zero_steps > 0 and self.w is not None

    def begin(self, x: Array) -> PyTree:
        """No step made yet."""
        inner = self.model.begin(x)
        return (jnp.zeros((), jnp.int32), inner) if self._counts else inner

    def at(self, memory: PyTree) -> Any:
        """The transform remembering ``memory``."""
        if not self._counts:
            return Transform.at(self, memory)
        return self.replace(memory=memory, model=self.model.at(memory[1]))  # type: ignore[attr-defined]

    def calls(self, t: ArrayLike | None, conditional: bool) -> int | Array:
        """None in the first steps."""
        calls = Transform.calls(self, t, conditional)
        if t is None or self.memory is None or not conditional:
            return calls
        return jnp.where(self.memory[0] < self.zero_steps, 0, calls)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate; without a condition the model's own."""
        if self.w is None or cond is None or self.memory is None:
            return Transform.__call__(self, x, t, cond)
        made, inner = self.memory

        def still() -> Denoised:
            out = write(jnp.zeros_like(x), x, level_of(self.model, x, t), "velocity")
            return Denoised(out.x0, out.eps, inner)

        out = jax.lax.cond(made < self.zero_steps, still, lambda: self.guided(x, t, cond))
        return Denoised(out.x0, out.eps, (made + 1, out.memory))

    def combine(self, x: Array, level: Level, w: Any, towards: Denoised, away: Denoised) -> Denoised:
        """The velocity at the best scale of the unconditional one."""
        c, u = read(towards, level, "velocity"), read(away, level, "velocity")
        square = jnp.sum(u * u)
        best = jnp.sum(c * u) / jnp.where(square > 0, square, 1.0)
        out = write(((1.0 + w) * c - w * best * u).astype(x.dtype), x, level, "velocity")
        return Denoised(out.x0, out.eps, towards.memory)
