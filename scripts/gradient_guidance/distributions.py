"""Algorithm 1 of arXiv 2404.14743 on the linear problem without a diffusion model: each round by its exact
distribution.

    u' ~ N( mu + p (y - p^T mu) / s,  I - p p^T / s ),  p = A^T g,  s = noise^2 + |p|^2       data x = A u, u ~ N(mu, I)

with (g, y) of the batch's mean or of each sample: what `iterate` does with an exact score, but for the sampler's steps.
By the mean, a fixed point maximizes ``f(x) - lambda/2 |x|^2`` over the subspace, lambda = noise^2 / delta. The paper's
theorem 2 asks for lambda > L, the smoothness of f; f2 in its published setting has L = 1 / (2 |x - b|) > lambda.
NumPy, float64: a thousand rounds take a tenth of a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from tfg_jax.checks import check_choice, check_count, check_number

Points = Float[np.ndarray, "n D"]


@dataclasses.dataclass(frozen=True)
class Reward:
    """f at points (n, D) and its gradient there, and f at the regularized optimum ``max f(x) - lambda/2 |x|^2``.

    Attributes:
        value: (n, D) -> (n,).
        gradient: (n, D) -> (n, D).
        optimum: lambda, > 0, -> f there, x in the subspace.
    """

    value: Callable[[Points], Float[np.ndarray, " n"]]
    gradient: Callable[[Points], Points]
    optimum: Callable[[float], float]


def parabola(basis: Float[np.ndarray, "D d"], theta: Float[np.ndarray, " D"]) -> Reward:
    """``f1 = 10 - (theta^T x - 3)^2``; the optimum: ``c = 6 t / (2 t^2 + lambda)`` along theta inside, of length t."""
    t = float(np.linalg.norm(basis.T @ theta))
    return Reward(
        lambda x: 10.0 - (x @ theta - 3.0) ** 2,
        lambda x: -2.0 * (x @ theta - 3.0)[:, None] * theta,
        lambda lam: 10.0 - (t * 6.0 * t / (2.0 * t * t + lam) - 3.0) ** 2,
    )


def distance(basis: Float[np.ndarray, "D d"], b: Float[np.ndarray, " D"]) -> Reward:
    """``f2 = 5 - |x - b| / 2``; b lies ``inside`` along the subspace and ``across`` off it."""
    inside = float(np.linalg.norm(basis.T @ b))
    across = float(np.sqrt(max(b @ b - inside**2, 0.0)))
    far = lambda x: np.linalg.norm(x - b, axis=1)  # noqa: E731
    at = lambda c: float(np.hypot(inside - c, across))  # noqa: E731

    def optimum(lam: float) -> float:
        low, high = 0.0, inside
        for _ in range(100):  # the gradient falls with c
            c = 0.5 * (low + high)
            low, high = (c, high) if 0.5 * (inside - c) / at(c) > lam * c else (low, c)
        return 5.0 - 0.5 * at(low)

    return Reward(lambda x: 5.0 - 0.5 * far(x), lambda x: -0.5 * (x - b) / far(x)[:, None], optimum)


def reward(problem: Any, which: str) -> Reward:
    """The same as the objective of a `LinearProblem`."""
    return (parabola if which.startswith("theta") else distance)(problem.basis, problem.parameter(which))


def rewards(
    basis: Float[np.ndarray, "D d"],
    f: Reward,
    delta: float,
    rounds: int,
    *,
    linearize: str = "mean",
    recentre: bool = False,
    batch: int = 32,
    noise_std: float = 0.1,
    seed: int = 0,
) -> Float[np.ndarray, " rounds_and_start"]:
    """Mean reward of the batch, of the unguided one first.

    Args:
        basis: A, orthonormal columns.
        f: the reward.
        delta: the rise asked for in a round, > 0.
        rounds: how many, >= 1.
        linearize: at the batch's ``"mean"``, or at each ``"sample"``.
        recentre: the distribution's mean moves to each batch's: Algorithm 2, idealised.
        batch: samples a round, >= 1.
        noise_std: of the reward, in its units, > 0.
        seed: of the draws.

    Returns:
        (rounds + 1,).

    Raises:
        ValueError: a number out of its range, or an unknown ``linearize``.
    """
    check_count("rounds", rounds)
    check_count("batch", batch)
    for name, value in (("delta", delta), ("noise_std", noise_std)):
        check_number(name, value, low=0.0, strict=True)
    check_choice("linearize", linearize, ("mean", "sample"))
    rng, rank = np.random.default_rng(seed), basis.shape[1]
    mu, u = np.zeros(rank), rng.standard_normal((batch, rank))
    history = [f.value(u @ basis.T).mean()]
    for _ in range(rounds):
        mu = u.mean(0) if recentre else mu
        at = (u.mean(0, keepdims=True) if linearize == "mean" else u) @ basis.T
        g = f.gradient(at)
        p, y = g @ basis, delta + np.sum(g * at, axis=1)
        size = np.sum(p * p, axis=1)
        z = rng.standard_normal((batch, rank))
        narrowed = (1.0 - noise_std / np.sqrt(noise_std**2 + size)) / np.maximum(size, 1e-300) * np.sum(p * z, axis=1)
        u = mu + ((y - p @ mu) / (noise_std**2 + size))[:, None] * p + z - narrowed[:, None] * p
        history.append(f.value(u @ basis.T).mean())
    return np.asarray(history)
