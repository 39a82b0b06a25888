"""Metrics: per-sample values first, then aggregates with confidence intervals."""

from tfg_jax.metrics.accuracy import (
    accuracy,
    check_independent,
    correct,
    mean_target_probability,
    per_class_accuracy,
    probabilities,
    target_probability,
)
from tfg_jax.metrics.batching import classify, features
from tfg_jax.metrics.diversity import distance_to_class, inception_score, intra_class_spread
from tfg_jax.metrics.frechet import Moments, equal_size, frechet_distance, frechet_with_ci, moments
from tfg_jax.metrics.intervals import Estimate, bootstrap, mean_ci, wilson
from tfg_jax.metrics.inverse_run import InverseRun, inverse_metrics
from tfg_jax.metrics.label_run import LabelRun, label_metrics
from tfg_jax.metrics.patches import beyond_real, patch_distance, unlike_real
from tfg_jax.metrics.posterior import mmd, posterior_spread, sliced_wasserstein, spread_map
from tfg_jax.metrics.precision_recall import precision_recall
from tfg_jax.metrics.restoration import feature_distance, lpips, measurement_residual, psnr, ssim
from tfg_jax.metrics.texture import high_frequency_power, high_frequency_ratio
from tfg_jax.metrics.titles import COSTS, METRICS, Metric, estimate, flat_estimate, titled

__all__ = [
    "COSTS", "METRICS", "Estimate", "InverseRun", "LabelRun", "Metric", "Moments", "accuracy", "beyond_real",
    "bootstrap", "check_independent", "classify", "correct", "distance_to_class", "equal_size", "feature_distance",
    "estimate", "features", "flat_estimate", "frechet_distance", "frechet_with_ci", "high_frequency_power",
    "high_frequency_ratio", "inception_score", "intra_class_spread", "inverse_metrics", "label_metrics", "lpips",
    "mean_ci", "mean_target_probability", "measurement_residual", "mmd", "moments", "patch_distance",
    "per_class_accuracy", "precision_recall", "posterior_spread", "probabilities", "psnr", "sliced_wasserstein",
    "spread_map", "ssim", "target_probability", "titled", "unlike_real", "wilson",
]  # fmt: skip
