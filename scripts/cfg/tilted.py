"""The distribution that classifier-free guidance is meant to sample, by quadrature, for Gaussian classes in the plane.

    p~(x | c) = p(x | c) p(c | x)^w / Z          (Ho & Salimans 2022, arXiv 2207.12598, section 3.2 and figure 2)

With exact scores neither the stochastic nor the deterministic sampler reaches it (Bradley & Nakkiran, arXiv
2408.09000): compare `moments` of samples with `tilted`. Everything is float64 on the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tfg_jax.analytic import Mixture, mixture

GRID, REACH = 801, 9.0
"""Points a side of the quadrature's square, and its half width in standard deviations beyond the farthest mean."""


@dataclass(frozen=True)
class PlaneMoments:
    """Mean, variances and skewness along y (towards class 0 of `triangle`) and x, entropy, mean p(c | x)."""

    mean_x: float
    mean_y: float
    var_x: float
    var_y: float
    skew_y: float
    entropy: float | None
    class_probability: float


def triangle(radius: float = 1.0, std: float = 1.0) -> Mixture:
    """Three equally likely isotropic Gaussians at 90, 210 and 330 degrees, so far from the origin."""
    angles = np.deg2rad([90.0, 210.0, 330.0])
    means = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return mixture(np.ones(3), means, np.stack([std**2 * np.eye(2)] * 3))


def tilted(data: Mixture, label: int, w: float, *, grid: int = GRID) -> PlaneMoments:
    """Moments of the tilted distribution of one class of a mixture of isotropic Gaussians, by the paper's weight w.

    The trapezoid rule on a Gaussian tail is exact to round-off long before the default number of points a side.
    """
    points, cell = _square(data, grid)
    density, inside = tilted_density(data, label, w, points, cell)
    log_density = np.log(np.where(density > 0, density, 1.0))
    mean = np.einsum("n,nd->d", density, points) * cell
    off = points - mean
    var = np.einsum("n,nd->d", density, off**2) * cell
    skew = float((density * off[:, 1] ** 3).sum() * cell / var[1] ** 1.5)
    entropy = -float((density * log_density).sum() * cell)
    return _moments(mean, var, skew, entropy, (density * inside).sum() * cell)


def tilted_density(
    data: Mixture, label: int, w: float, points: Float[np.ndarray, "n 2"], cell: float
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """The tilted density at points that are a grid of this cell size, and p(label | x) there."""
    joint = _joint(data, points)
    log_class = joint[:, label] - np.logaddexp.reduce(joint, axis=1)
    log_density = joint[:, label] + w * log_class
    density = np.exp(log_density - log_density.max())
    return density / (density.sum() * cell), np.exp(log_class)


def moments(data: Mixture, label: int, x: Float[np.ndarray, "n 2"]) -> PlaneMoments:
    """The same of samples; entropy is left out."""
    x = np.asarray(x, np.float64)
    joint = _joint(data, x)
    inside = np.exp(joint[:, label] - np.logaddexp.reduce(joint, axis=1)).mean()
    mean, var = x.mean(axis=0), x.var(axis=0)
    skew = float(((x[:, 1] - mean[1]) ** 3).mean() / var[1] ** 1.5)
    return _moments(mean, var, skew, None, inside)


def _moments(mean: np.ndarray, var: np.ndarray, skew: float, entropy: float | None, inside: float) -> PlaneMoments:
    (mean_x, mean_y), (var_x, var_y) = map(float, mean), map(float, var)
    return PlaneMoments(mean_x, mean_y, var_x, var_y, skew, entropy, class_probability=float(inside))


def _square(data: Mixture, grid: int) -> tuple[np.ndarray, float]:
    means, variances = np.asarray(data.means, np.float64), np.asarray(data.variances, np.float64)
    half = float(np.abs(means).max() + REACH * np.sqrt(variances.max()))
    axis = np.linspace(-half, half, grid)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, (axis[1] - axis[0]) ** 2


def _joint(data: Mixture, points: np.ndarray) -> np.ndarray:
    """log p(component, x) of isotropic components, (n, K)."""
    means, var = np.asarray(data.means, np.float64), np.asarray(data.variances, np.float64)[:, 0]
    square = ((points[:, None, :] - means) ** 2).sum(axis=-1)
    return np.asarray(jnp.log(data.weights), np.float64) - 0.5 * square / var - np.log(2.0 * np.pi * var)
