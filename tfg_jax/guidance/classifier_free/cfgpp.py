"""CFG++."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.declare import child, number, static
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import BATCHED, MODEL, Transform, Weight, extrapolate
from tfg_jax.schedules import Level


@struct.dataclass
class CFGPlusPlus(Transform):
    """CFG++ (Chung et al., ICLR 2025, arXiv 2406.08070): guide the denoised estimate, re-noise with the unconditional
    noise.

        x0' = x0 of  eps(x_t) + strength (eps(x_t, c) - eps(x_t)),        x_next = alpha_next x0' + sigma_next eps(x_t)

    Written as the pair (x0', eps(x_t)), which DDIM, DDPM and Euler advance with as the paper does. The pair is no point
    of the path, so there is no probability flow: Heun, inversion, and guidance that edits eps are refused. Acts alike
    in every space.
    Cost an evaluation: 2 network forwards, in one batched call.
    Reduces to: on one deterministic step between S = sigma / alpha and S' at the next level, `CFG` with the scale 1 + w
    = strength S / (S - S'); so it depends on the grid.

    @inproceedings{chung2025cfgpp,
      title = {{CFG++}: Manifold-Constrained Classifier Free Guidance for Diffusion Models},
      author = {Chung, Hyungjin and Kim, Jeongsol and Park, Geon Yeong and Nam, Hyelin and Ye, Jong Chul},
      booktitle = {International Conference on Learning Representations},
      year = {2025},
      eprint = {2406.08070}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(help=MODEL)
    strength: Weight = number(
        default=0.6,
        per_sample=True,
        help="the paper's lambda, usually in [0, 1], PerSample, or a function of the log-SNR",
    )
    batched: bool = static(default=True, help=BATCHED)

    def check_settings(self) -> None:
        """Raise ValueError for a strength that is None."""
        if self.strength is None:
            raise ValueError("strength=None leaves nothing of CFG++; use the model itself")

    @property
    def paired(self) -> bool:
        """False: eps is not the noise of x0."""
        return False

    @property
    def w(self) -> Weight:
        """The strength: None is off."""
        return self.strength

    def combine(self, x: Array, level: Level, w: Any, towards: Denoised, away: Denoised) -> Denoised:
        """The guided denoised estimate with the unconditional noise."""
        return extrapolate(w - 1.0, towards, away).replace(eps=away.eps)  # type: ignore[attr-defined]
