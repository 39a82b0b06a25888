"""FreeDoM: gradient guidance with recurrence."""

from __future__ import annotations

from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.declare import choice, count, number
from tfg_jax.guidance.base import Method, Next, StepContext
from tfg_jax.guidance.strengths import Structure, spread
from tfg_jax.schedules import Level


@struct.dataclass
class FreeDoM(Method):
    """FreeDoM: gradient guidance with recurrence, "time travel" (Yu et al., ICCV 2023, arXiv 2303.09833).

        x_next = rule(x0, eps) + rho_t grad_{x_t} f(x0)

    repeated n_recur times with re-noising in between. rho_t is ``strength`` spread over the steps by ``structure``, as
    in the TFG benchmark.
    Cost a step and recurrence: 1 network forward, 1 pullback, 1 objective gradient.
    Reduces to: TFG with rho_t sqrt(a_t / a_next), mu = None, smoothing = None.

    @inproceedings{yu2023freedom,
      title = {{FreeDoM}: Training-Free Energy-Guided Conditional Diffusion Model},
      author = {Yu, Jiwen and Wang, Yinhuai and Zhao, Chen and Ghanem, Bernard and Zhang, Jian},
      booktitle = {IEEE/CVF International Conference on Computer Vision},
      year = {2023},
      eprint = {2303.09833}, archiveprefix = {arXiv},
    }
    """

    strength: ArrayLike = number(default=1.0, low=0.0, help="mean step size, dimensionless")
    n_recur: int = count(default=1, help="recurrences of each step")
    structure: Structure = choice(default="increase", help="how the strength is spread over the steps")

    def prepare(self, levels: Level) -> tuple[Array, None]:
        """rho_t of each step."""
        return spread(self.strength, self.structure, levels), None

    def step(self, ctx: StepContext, per_step: Array, state: None) -> tuple[Next, None]:
        """One guided step of one sample."""
        x0, pullback = ctx.lookahead()
        shift = per_step * ctx.vp_shift(pullback(ctx.gradient(x0)))
        return ctx.advance(ctx.denoised).shifted(shift), state
