"""Manifold-preserving guided diffusion."""

from __future__ import annotations

from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.declare import Needs, number
from tfg_jax.denoiser import Denoised
from tfg_jax.guidance.base import Method, Next, StepContext


@struct.dataclass
class MPGD(Method):
    """Manifold-preserving guided diffusion without a projector (He et al., ICLR 2024, arXiv 2311.16424).

        x_next = rule(x0 + strength grad f(x0), eps)

    The network's own eps is kept, also when x0 was clipped; so with a clip, strength 0 is not the clipped unguided
    step.
    Cost a step: 1 network forward, no pullback, 1 objective gradient.
    Reduces to: TFG with rho = None, mu = strength, mu_structure="constant", n_iter = 1, without a clip.

    @inproceedings{he2024mpgd,
      title = {Manifold Preserving Guided Diffusion},
      author = {He, Yutong and Murata, Naoki and Lai, Chieh-Hsin and Takida, Yuhta and Uesaka, Toshimitsu and
                Kim, Dongjun and Liao, Wei-Hsiang and Mitsufuji, Yuki and Kolter, J. Zico and
                Salakhutdinov, Ruslan and Ermon, Stefano},
      booktitle = {International Conference on Learning Representations},
      year = {2024},
      eprint = {2311.16424}, archiveprefix = {arXiv},
    }
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="step size at the denoised estimate, in units of data^2")
    needs = Needs(gradients=1)

    def step(self, ctx: StepContext) -> Next:
        """One guided step of one sample."""
        x0, _ = ctx.lookahead()
        edit = self.strength * ctx.gradient(x0)
        return ctx.advance(Denoised(ctx.denoised.x0 + edit, ctx.raw.eps), edit)
