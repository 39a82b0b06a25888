"""Guidance in an interval of noise levels alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import is_batched
from tfg_jax.declare import child, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.classifier_free.base import MEMORY, Transform


@struct.dataclass
class GuidanceInterval(Transform):
    """Guidance in an interval of noise levels alone (Kynkäänniemi et al., NeurIPS 2024, arXiv 2404.07724).

        guided(x_t)  where low <= log-SNR <= high,      the plain conditional model outside

    The level is shared by all samples, so outside the other branches are not computed; with bounds mapped by vmap they
    are. The level of each evaluation decides, so at a bound the two evaluations of a Heun step may differ; the paper
    switches by step. With alpha = 1, log-SNR = -2 log(sigma): the sigma in [0.283, 1.609] of the paper is (-0.95,
    2.52).
    Cost an evaluation: the guided one's inside, the plain one's outside.
    Reduces to: the guided model for (-inf, inf), the conditional one for an empty interval.

    @inproceedings{kynkaanniemi2024interval,
      title = {Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models},
      author = {Kynk{\\"a}{\\"a}nniemi, Tuomas and Aittala, Miika and Karras, Tero and Laine, Samuli and Aila, Timo and
                Lehtinen, Jaakko},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2024},
      eprint = {2404.07724}, archiveprefix = {arXiv},
    }
    """

    model: Any = child(help="a transform such as CFG; outside, the model that it guides")
    low: ArrayLike = number(default=-jnp.inf, infinite=True, help="least log(alpha^2 / sigma^2) at which it guides")
    high: ArrayLike = number(default=jnp.inf, infinite=True, help="largest log(alpha^2 / sigma^2) at which it guides")
    memory: PyTree = child(default=None, help=MEMORY)

    def check_settings(self) -> None:
        """Raise ValueError for a model that has no guidance."""
        if not isinstance(self.model, Transform):
            raise ValueError(f"model={type(self.model).__name__} has no guidance to bound; wrap it, e.g. in CFG")
        if not self.model.paired:
            raise ValueError(f"model={type(self.model).__name__} re-noises in its own way; give its weight by log-SNR")

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for what does not fit the run; see `Transform.check`."""
        self.model.check(conditional, num_samples)

    @property
    def unguided(self) -> Any:
        """The model without guidance."""
        return self.model.unguided

    def _inside(self, t: ArrayLike) -> Array:
        log_snr = self.schedule.level(t).log_snr
        return (log_snr >= self.low) & (log_snr <= self.high)

    def calls(self, t: ArrayLike | None, conditional: bool) -> int | Array:
        """Fewer outside; both if a vmap maps the bounds, which are then evaluated both and selected from."""
        guided, bare = self.model.calls(t, conditional), self.unguided.calls(t, conditional)
        if t is None:
            return max(guided, bare)  # type: ignore[type-var]
        inside = self._inside(t)
        return jnp.where(is_batched(inside), guided + bare, jnp.where(inside, guided, bare))

    def at(self, memory: PyTree) -> Any:
        """The transform around the model that remembers ``memory``, which stands still outside."""
        return self if memory is None else self.replace(model=self.model.at(memory), memory=memory)  # type: ignore

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate inside, the plain one outside."""
        if self.memory is None and self.model.begin(x) is not None:
            return self.at(self.model.begin(x))(x, t, cond)

        def outside() -> Denoised:
            denoised = self.unguided(x, t, cond)
            return denoised.replace(memory=self.memory)

        return jax.lax.cond(self._inside(t), lambda: self.model(x, t, cond), outside)
