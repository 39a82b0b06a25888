"""Measurement operators ``y = A(x0)`` of one sample, and their noise.

An operator is a frozen pytree called as ``operator(x0) -> y`` on one sample (H, W, C); masks and kernels are leaves.
Linear operators also have

    adjoint(y)                         A^T y, exactly
    gram_solve(y, variance, ridge)     (variance A A^T + ridge I)^-1 y, exactly

of real numbers. Where A or x0 is complex, A^H takes the place of A^T in both, and a complex y of a real x0 is two real
measurements: ``real_gradient(y, variance, ridge)``, where there is one, is A^T (variance A A^T + ridge I)^-1 y of
those.

They plug into `tfg_jax.objectives.gaussian_log_likelihood`, `poisson_log_likelihood` and `residual_norm`.
"""

from tfg_jax.operators.base import Operator, measurement_gradient
from tfg_jax.operators.blur import Convolution, convolution, gaussian_blur, motion_blur, motion_kernel
from tfg_jax.operators.fourier import Fourier, fourier, random_fourier
from tfg_jax.operators.linear import (
    Inpainting,
    Matrix,
    Separable,
    box_inpainting,
    inpainting,
    matrix,
    random_inpainting,
    separable,
    super_resolution,
)
from tfg_jax.operators.noise import measure, measure_poisson
from tfg_jax.operators.nonlinear import DynamicRange, PhaseRetrieval, dynamic_range, phase_retrieval

__all__ = [
    "Convolution", "DynamicRange", "Fourier", "Inpainting", "Matrix", "Operator", "PhaseRetrieval", "Separable",
    "box_inpainting", "convolution", "dynamic_range", "fourier", "gaussian_blur", "inpainting", "matrix", "measure",
    "measure_poisson", "measurement_gradient", "motion_blur", "motion_kernel", "phase_retrieval", "random_fourier",
    "random_inpainting", "separable", "super_resolution",
]  # fmt: skip
