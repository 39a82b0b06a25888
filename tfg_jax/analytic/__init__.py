"""Gaussian and mixture models that know denoiser, score, flow map and posterior exactly: oracle and playground."""

from tfg_jax.analytic.mixture import Mixture, gaussian, in_subspace, mixture
from tfg_jax.analytic.objectives import component_objective, conditional_objective

__all__ = ["Mixture", "component_objective", "conditional_objective", "gaussian", "in_subspace", "mixture"]
