"""A sampler of one's own, in one file."""

from jax.typing import ArrayLike

from tfg_jax import Cost, struct
from tfg_jax.declare import child, count, number
from tfg_jax.guidance.base import Next
from tfg_jax.samplers.base import SingleEvaluation, straight
from tfg_jax.timesteps import Grid


@struct.dataclass
class Damped(SingleEvaluation):
    """The straight step with its noise damped.

        x_next = alpha_next x0 + damping sigma_next eps

    Cost a step: 1 forward.
    Reduces to: Euler at damping = 1.

    Cite: Euler
    """

    steps: int = count(default=10, help="number of steps")
    damping: ArrayLike = number(default=0.99, low=0.0, high=1.0, help="share of the noise that is kept")
    grid: Grid | None = child(default=None, help="where the steps are placed; None is Uniform")

    def advance(self, step, edited):
        return Next(straight(edited.replace(eps=self.damping * edited.eps), step.next), step.memory, Cost())
