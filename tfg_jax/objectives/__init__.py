"""Objectives: the log-weight of a clean sample, higher is better, with the target as data.

An objective is a pytree, called as ``objective(x0, target) -> scalar`` on one sample, with

    check(target, num_samples, shape)     eager errors for a target that cannot be meant
    noisy                                 static; True for time-dependent objectives ``objective(x, target, level)``
    usable(target)                        optional; whether one sample's target can be meant, for what check cannot see
    uses_cond                             static, optional; True where it is called with ``cond=``, the sample's own
    crosses_zero                          static, optional; True where 0 lies among its values, as in `Linear`
"""

from tfg_jax.objectives.base import FromFn, Objective, from_fn, from_linen, from_nnx
from tfg_jax.objectives.classifier import (
    Classifier,
    ClassLogProb,
    NoisyClassifier,
    class_log_prob,
    noisy_class_log_prob,
)
from tfg_jax.objectives.compose import Sum, Through, Weighted, through, total, weighted
from tfg_jax.objectives.inverse import (
    GaussianLogLikelihood,
    PhotonResidual,
    PoissonLogLikelihood,
    ResidualNorm,
    gaussian_log_likelihood,
    photon_residual,
    poisson_log_likelihood,
    residual_norm,
)
from tfg_jax.objectives.linear import Linear, linear

__all__ = [
    "ClassLogProb", "Classifier", "FromFn", "GaussianLogLikelihood", "Linear", "NoisyClassifier", "Objective",
    "PhotonResidual", "PoissonLogLikelihood", "ResidualNorm", "Sum", "Through", "Weighted", "class_log_prob", "from_fn",
    "from_linen", "from_nnx", "gaussian_log_likelihood", "linear", "noisy_class_log_prob", "photon_residual",
    "poisson_log_likelihood", "residual_norm", "through", "total", "weighted",
]  # fmt: skip
