"""The simulated problems of the gradient-guidance paper (arXiv 2404.14743), with exact models in place of networks.

linear     x_0 = A u, u ~ N(0, I_16) in R^64;  f1 = 10 - (theta^T x - 3)^2,  f2 = 5 - |x - b| / 2
sphere     x_0 uniform on the unit sphere of R^64;  f = theta^T x
E[x_0 | x_t] = I_{D/2}(k) / I_{D/2-1}(k) x_t / |x_t|,   k = alpha |x_t| / sigma^2           (sphere, exact)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.analytic import gaussian, in_subspace
from tfg_jax.checks import check_count, safe_norm
from tfg_jax.constructors import from_fn
from tfg_jax.denoiser import Denoiser, unit_time
from tfg_jax.objectives.base import FromFn
from tfg_jax.objectives.base import from_fn as objective_from
from tfg_jax.schedules import Schedule

RATIO_TERMS = 24


@struct.dataclass
class LinearProblem:
    """Data in a linear subspace, with the published objectives' parameters.

    Attributes:
        basis: A, orthonormal columns.
        theta_in: unit vector inside the subspace.
        theta_across: unit vector of which 9 parts in 10 are across: ``|across| / |inside| = 9``.
        b_same: every entry 4.
        b_spread: drawn from N(4, 9) each.
    """

    basis: Float[np.ndarray, "D d"]
    theta_in: Float[np.ndarray, " D"]
    theta_across: Float[np.ndarray, " D"]
    b_same: Float[np.ndarray, " D"]
    b_spread: Float[np.ndarray, " D"]

    def parameter(self, which: str) -> Float[np.ndarray, " D"]:
        """``theta_1`` (inside), ``theta_2`` (across), ``b_1`` (the same) or ``b_2`` (spread)."""
        return {
            "theta_1": self.theta_in, "theta_2": self.theta_across, "b_1": self.b_same, "b_2": self.b_spread
        }[which]  # fmt: skip

    def objective(self, which: str) -> FromFn:
        """f1 of a theta, f2 of a b."""
        return (parabola if which.startswith("theta") else distance)(self.parameter(which))

    def frame(self) -> Float[np.ndarray, "D 3"]:
        """Directions to look at samples from: along theta_across inside the subspace, another inside, and across."""
        inside = self.basis.T @ self.theta_across
        other = self.basis @ np.linalg.svd(inside[None])[2][1]
        along = self.basis @ inside
        return np.stack([_unit(along), other, _unit(self.theta_across - along)], 1)

    def model(self, schedule: Schedule) -> Denoiser:
        """The exact denoiser of ``x_0 = A u`` with standard normal u."""
        rank = self.basis.shape[1]
        data = in_subspace(self.basis, gaussian(np.zeros(rank), np.eye(rank)))
        return data.denoiser(schedule, "x0")


def linear_problem(dim: int = 64, rank: int = 16, seed: int = 0) -> LinearProblem:
    """The linear problem of D = ``dim`` and d = ``rank`` drawn from a seed.

    Raises:
        ValueError: rank < 1 or dim <= rank.
    """
    check_count("rank", rank)
    check_count("dim", dim, low=rank + 1)
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    basis = frame[:, :rank]
    inside = _unit(basis @ rng.standard_normal(rank))
    across = _unit(frame[:, rank:] @ rng.standard_normal(dim - rank))
    spread = rng.normal(4.0, 3.0, dim)
    return LinearProblem(basis, inside, (inside + 9.0 * across) / np.sqrt(82.0), np.full(dim, 4.0), spread)


def parabola(theta: Any) -> FromFn:
    """``f1 = 10 - (theta^T x - 3)^2``, at most 10."""
    return objective_from(_parabola, jnp.asarray(theta, jnp.result_type(float)))


def distance(b: Any) -> FromFn:
    """``f2 = 5 - |x - b| / 2``, concave, not linear."""
    return objective_from(_distance, jnp.asarray(b, jnp.result_type(float)))


def along(theta: Any) -> FromFn:
    """``theta^T x``."""
    return objective_from(_along, jnp.asarray(theta, jnp.result_type(float)))


def _parabola(theta: Array, x: Array, target: PyTree) -> Array:
    return 10.0 - (theta @ x - 3.0) ** 2


def _distance(b: Array, x: Array, target: PyTree) -> Array:
    return 5.0 - 0.5 * safe_norm(x - b)


def _along(theta: Array, x: Array, target: PyTree) -> Array:
    return theta @ x


def sphere(dim: int, schedule: Schedule) -> Denoiser:
    """The exact denoiser of data uniform on the unit sphere of R^dim.

    Raises:
        ValueError: dim < 2.
    """
    check_count("dim", dim, low=2)
    return from_fn(_sphere, schedule, schedule, prediction="x0", shape=(dim,), network_time=unit_time)


def _sphere(schedule: Schedule, x: Array, t: Array, cond: PyTree) -> Array:
    level = schedule.level(t)
    alpha, sigma = level.alpha.astype(x.dtype), level.sigma.astype(x.dtype)
    sharpness = alpha / sigma**2
    return sharpness * x * bessel_ratio_over(sharpness * safe_norm(x), 0.5 * x.shape[0])


def bessel_ratio_over(k: Float[Array, ""], order: float) -> Float[Array, ""]:
    """``I_order(k) / (k I_{order-1}(k))`` for k >= 0, by the continued fraction from an asymptotic tail."""
    top = order + RATIO_TERMS
    tail = k / (top - 0.5 + jnp.sqrt((top + 0.5) ** 2 + k**2))

    def down(ratio: Array, m: Array) -> tuple[Array, None]:
        return k / (2.0 * m + k * ratio), None

    orders = jnp.arange(RATIO_TERMS - 1, 0, -1) + jnp.asarray(order, k.dtype)
    ratio, _ = jax.lax.scan(down, tail, orders, unroll=True)
    return 1.0 / (2.0 * order + k * ratio)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)
