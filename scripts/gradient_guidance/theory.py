"""What Algorithm 1 does to the mean of an infinite batch with exact scores, and the numbers it is held against.

    xbar' = Pg (delta + g^T xbar) / (noise^2 + |Pg|^2)         data N(0, P), g = grad f(xbar)

From xbar = 0 it stays on one line of the subspace: ``xbar = c e``, ``Pg = q e`` with q a function of c.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

NOISE = 0.1
RANK = 16

REFERENCE = {
    "f1, theta_1, mean": 9.880, "f1, theta_1, sample": 7.24, "f1, theta_2, mean": 5.946, "f1, theta_2, sample": 5.927,
    "f2, b_1, mean": -8.65, "f2, b_1, sample": -9.14, "f2, b_2, mean": -10.29, "naive, reward": 1.91,
    "naive, r_off": 0.034, "recentred, theta_2, 0.2, round 50": 9.97, "recentred, theta_2, 0.2, round 100": 10.0,
    "recentred, theta_1, 0.05, round 300": 9.963, "recentred, theta_2, 0.05, round 300": 10.0,
}  # fmt: skip
"""Plateaus of independent float64 simulations with exact scores, of other draws of the problem (f2 depends on them)."""


@dataclasses.dataclass(frozen=True)
class Line:
    """An objective on that line.

    Attributes:
        slope: c -> q.
        value: c -> f(c e).
        spread: (c, variance along e) -> the mean of f over a batch around c e, of variance 1 beside e.
    """

    slope: Callable[[float], float]
    value: Callable[[float], float]
    spread: Callable[[float, float], float]

    def path(self, delta: float, rounds: int) -> np.ndarray:
        """c of the mean, round by round from 0."""
        c = [0.0]
        for _ in range(rounds):
            q = self.slope(c[-1])
            c.append(q * (delta + q * c[-1]) / (NOISE**2 + q * q))
        return np.asarray(c)

    def rewards(self, delta: float, rounds: int) -> np.ndarray:
        """f of the mean, round by round."""
        return np.asarray([self.value(c) for c in self.path(delta, rounds)])

    def plateau(self, delta: float) -> tuple[float, float]:
        """f at the fixed point, and its mean over a batch there."""
        c = float(self.path(delta, 20_000)[-1])
        return self.value(c), self.spread(c, NOISE**2 / (NOISE**2 + self.slope(c) ** 2))


def parabola(t: float) -> Line:
    """f1 with a theta of which ``t`` lies inside: the fixed point is ``c = 6 t / (2 t^2 + noise^2 / delta)``."""
    return Line(
        lambda c: 2.0 * t * (3.0 - t * c),
        lambda c: 10.0 - (t * c - 3.0) ** 2,
        lambda c, var: 10.0 - (t * c - 3.0) ** 2 - t * t * var,
    )


def distance(basis: np.ndarray, b: np.ndarray) -> Line:
    """f2: b lies ``inside`` along the subspace and ``across`` off it."""
    inside = float(np.linalg.norm(basis.T @ b))
    across = float(np.sqrt(max(b @ b - inside**2, 0.0)))
    far = lambda c, more=0.0: float(np.sqrt((c - inside) ** 2 + across**2 + more))  # noqa: E731
    return Line(
        lambda c: 0.5 * (inside - c) / far(c),
        lambda c: 5.0 - 0.5 * far(c),
        lambda c, var: 5.0 - 0.5 * far(c, var + RANK - 1.0),
    )
