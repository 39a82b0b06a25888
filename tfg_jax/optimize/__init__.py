"""Generation as optimization: rounds of gradient guidance that raise a reward, with or without fine-tuning."""

from tfg_jax.optimize.black_box import Antithetic, Autodiff, FromValues, LeastSquares, from_values
from tfg_jax.optimize.finetune import FineTune, Recentre
from tfg_jax.optimize.iterated import Optimized, iterate
from tfg_jax.optimize.rounds import Batch, off_support

__all__ = [
    "Antithetic",
    "Autodiff",
    "Batch",
    "FineTune",
    "FromValues",
    "LeastSquares",
    "Optimized",
    "Recentre",
    "from_values",
    "iterate",
    "off_support",
]
