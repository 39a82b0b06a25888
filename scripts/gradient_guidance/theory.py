"""Algorithm 1 without a diffusion model: each round drawn from the law that an exact score samples. NumPy, float64.

    u' ~ N( mu + p (y - p^T mu) / s,  I - p p^T / s ),  p = A^T g,  s = noise^2 + |p|^2       data x = A u, u ~ N(mu, I)

with (g, y) of the batch's mean or of each sample. By the mean a fixed point maximises ``f(x) - lambda/2 |x|^2`` over
the subspace, lambda = noise^2 / delta. The paper's theorem 2 asks for lambda > L, the smoothness of f; f2 in its
published setting has L = 1 / (2 |x - b|) > lambda.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

NOISE = 0.1

REFERENCE = {
    "f1, theta_1, mean": 9.880, "f1, theta_1, sample": 7.24, "f1, theta_2, mean": 5.946, "f1, theta_2, sample": 5.927,
    "f2, b_1, mean": -8.65, "f2, b_1, sample": -9.14, "f2, b_2, mean": -10.29, "naive, reward": 1.91,
    "naive, r_off": 0.034, "recentred, theta_2, 0.2, round 50": 9.97, "recentred, theta_2, 0.2, round 100": 10.0,
    "recentred, theta_1, 0.05, round 300": 9.963, "recentred, theta_2, 0.05, round 300": 10.0,
}  # fmt: skip
"""From another implementation with exact scores in float64, on another draw of A, theta and b."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """f and its gradient at points (n, D), and f at the regularised optimum for a lambda."""

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    optimum: Callable[[float], float]


def parabola(basis: np.ndarray, theta: np.ndarray) -> Objective:
    """f1; the regularised optimum lies ``c = 6 t / (2 t^2 + lambda)`` along theta's part inside, of length t."""
    t = float(np.linalg.norm(basis.T @ theta))
    return Objective(
        lambda x: 10.0 - (x @ theta - 3.0) ** 2,
        lambda x: -2.0 * (x @ theta - 3.0)[:, None] * theta,
        lambda lam: 10.0 - (t * 6.0 * t / (2.0 * t * t + lam) - 3.0) ** 2,
    )


def distance(basis: np.ndarray, b: np.ndarray) -> Objective:
    """f2; b lies ``inside`` along the subspace and ``across`` off it."""
    inside = float(np.linalg.norm(basis.T @ b))
    across = float(np.sqrt(max(b @ b - inside**2, 0.0)))
    far = lambda x: np.linalg.norm(x - b, axis=1)  # noqa: E731
    at = lambda c: float(np.hypot(inside - c, across))  # noqa: E731

    def optimum(lam: float) -> float:
        low, high = 0.0, inside
        for _ in range(100):  # the slope falls with c
            c = 0.5 * (low + high)
            low, high = (c, high) if 0.5 * (inside - c) / at(c) > lam * c else (low, c)
        return 5.0 - 0.5 * at(low)

    return Objective(lambda x: 5.0 - 0.5 * far(x), lambda x: -0.5 * (x - b) / far(x)[:, None], optimum)


def rewards(
    basis: np.ndarray,
    f: Objective,
    delta: float,
    rounds: int,
    *,
    by_mean: bool,
    recentre: bool = False,
    batch: int = 32,
) -> np.ndarray:
    """Mean reward of the batch round by round, with the law re-centred on each batch or not."""
    rng, rank = np.random.default_rng(0), basis.shape[1]
    mu, u = np.zeros(rank), rng.standard_normal((batch, rank))
    history = [f.value(u @ basis.T).mean()]
    for _ in range(rounds):
        mu = u.mean(0) if recentre else mu
        at = (u.mean(0, keepdims=True) if by_mean else u) @ basis.T
        g = f.slope(at)
        p, y = g @ basis, delta + np.sum(g * at, axis=1)
        size = np.sum(p * p, axis=1)
        z = rng.standard_normal((batch, rank))
        narrowed = (1.0 - NOISE / np.sqrt(NOISE**2 + size)) / np.maximum(size, 1e-300) * np.sum(p * z, axis=1)
        u = mu + ((y - p @ mu) / (NOISE**2 + size))[:, None] * p + z - narrowed[:, None] * p
        history.append(f.value(u @ basis.T).mean())
    return np.asarray(history)
