"""Generation as optimisation: rounds of gradient guidance that raise a reward, with or without fine-tuning."""

from tfg_jax.optimise.black_box import Antithetic, Autodiff, FromValues, LeastSquares, from_values
from tfg_jax.optimise.finetune import FineTune, Recentre
from tfg_jax.optimise.iterated import Optimised, iterate
from tfg_jax.optimise.rounds import Batch, off_support

__all__ = [
    "Antithetic",
    "Autodiff",
    "Batch",
    "FineTune",
    "FromValues",
    "LeastSquares",
    "Optimised",
    "Recentre",
    "from_values",
    "iterate",
    "off_support",
]
