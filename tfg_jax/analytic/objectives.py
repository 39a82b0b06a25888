"""Objectives of mixtures of Gaussians, exact for clean and for noisy samples."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, Int, PyTree

from tfg_jax import struct
from tfg_jax.analytic.mixture import Mixture
from tfg_jax.checks import check_number, is_concrete, show
from tfg_jax.kinds import public
from tfg_jax.schedules import Level


@struct.dataclass
class MeasurementLogProb:
    """``log p(y | x_t)`` for ``y = A x0 + noise_std z``, exactly; build it with `conditional_objective`."""

    data: Mixture
    A: Inexact[Array, "M D"]
    noise_std: ArrayLike
    noisy = True

    def check(self, target: PyTree, num_samples: int, shape: tuple[int, ...]) -> None:
        """The target must be (num_samples, M) floats, or complex numbers if A is complex."""
        expected, got = (num_samples, self.A.shape[0]), getattr(target, "shape", None)
        if got != expected or jnp.iscomplexobj(target) != jnp.iscomplexobj(self.A):
            got = f"{got} of dtype {getattr(target, 'dtype', None)}"
            raise ValueError(f"target must be measurements of shape {expected}, got {got}; give A @ x0 of each sample")

    def __call__(self, x: Float[Array, " D"], target: Inexact[Array, " M"], level: Level) -> Float[Array, ""]:
        return self.data.given(x, level).log_evidence(self.A, target, self.noise_std)


@struct.dataclass
class ComponentLogProb:
    """``log p(component | x)`` of clean or noisy samples, exactly; build it with `component_objective`."""

    data: Mixture
    noisy: bool = struct.field(pytree_node=False)

    def check(self, target: PyTree, num_samples: int, shape: tuple[int, ...]) -> None:
        """The target must be (num_samples,) integers in 0..K-1; values are checked when concrete."""
        count, dtype = self.data.means.shape[0], getattr(target, "dtype", None)
        integer = dtype is not None and jnp.issubdtype(dtype, jnp.integer)
        if not integer or getattr(target, "shape", None) != (num_samples,):
            raise ValueError(f"target must be ({num_samples},) integers, one component a sample, got {show(target)}")
        if is_concrete(target) and not bool(np.all((np.asarray(target) >= 0) & (np.asarray(target) < count))):
            raise ValueError(f"target must lie in 0..{count - 1}, the components of the mixture")

    def __call__(self, x: Float[Array, " D"], target: Int[Array, ""], level: Level | None = None) -> Float[Array, ""]:
        distribution = self.data if level is None else self.data.noisy(level)
        return jax.nn.log_softmax(distribution.joint_log_prob(x))[target]


@public
def conditional_objective(A: ArrayLike, noise_std: ArrayLike, data: Mixture) -> MeasurementLogProb:
    """The exact noisy objective of a linear measurement; the target is y.

    With ``ClassifierGuidance(strength=1)`` the guided score is the score of ``data.posterior(A, y, noise_std)``.

    Args:
        A: (M, D) measurement matrix, real or complex.
        noise_std: standard deviation of its noise (of each part, if complex), > 0 (traced).
        data: the data.

    Raises:
        ValueError: A of another width than the data, or noise_std <= 0.
    """
    check_number("noise_std", noise_std, low=0.0, strict=True)
    matrix: Any = jnp.asarray(A, jnp.result_type(data.means.dtype, jnp.complex64 if np.iscomplexobj(A) else bool))
    dim = data.means.shape[1]
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise ValueError(f"A has shape {matrix.shape}, data of dimension {dim} needs (M, {dim})")
    return MeasurementLogProb(data, matrix, noise_std)


@public
def component_objective(data: Mixture, *, noisy: bool = True) -> ComponentLogProb:
    """The log-probability of a component given a sample; the target is its number, 0..K-1.

    Args:
        data: the mixture.
        noisy: True judges x_t at its level, for `ClassifierGuidance`; False judges clean samples, for other methods.
    """
    return ComponentLogProb(data, noisy)
