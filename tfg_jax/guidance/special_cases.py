"""The published methods as corners of the TFG design space (Ye et al., arXiv 2409.15761, theorem 3.2).

Each function gives a `TFG`. The methods' own files hold the updates as published and differ from these corners by a
factor per step (with a = abar_t / abar_next):

    method      TFG corner's term / published term, at equal strength
    DPS         |f| / sqrt(a)                       LGD (n draws, smoothing 1)    n / sqrt(a)
    FreeDoM     1 / sqrt(a)                         MPGD                          1, without a clip
"""

from __future__ import annotations

from jax.typing import ArrayLike

from tfg_jax.guidance.strengths import Structure
from tfg_jax.guidance.tfg import TFG
from tfg_jax.kinds import public

__all__ = ["dps", "freedom", "lgd", "mpgd", "ugd"]


@public
def dps(rho: ArrayLike, structure: Structure = "constant") -> TFG:
    """DPS: variance guidance alone."""
    return TFG(rho=rho, mu=None, rho_structure=structure)


@public
def lgd(rho: ArrayLike, n_mc: int = 10, smoothing: ArrayLike = 1.0, structure: Structure = "constant") -> TFG:
    """LGD-MC: variance guidance of the smoothed objective."""
    return TFG(rho=rho, mu=None, smoothing=smoothing, n_mc=n_mc, rho_structure=structure)


@public
def mpgd(mu: ArrayLike, structure: Structure = "constant") -> TFG:
    """MPGD: one step of mean guidance alone."""
    return TFG(rho=None, mu=mu, n_iter=1, mu_structure=structure)


@public
def freedom(rho: ArrayLike, n_recur: int = 1, structure: Structure = "increase") -> TFG:
    """FreeDoM: variance guidance with recurrence."""
    return TFG(rho=rho, mu=None, n_recur=n_recur, rho_structure=structure)


@public
def ugd(rho: ArrayLike, mu: ArrayLike, n_iter: int = 3, n_recur: int = 1, structure: Structure = "constant") -> TFG:
    """UGD: both guidances without smoothing; n_iter counts the iterations at the denoised estimate."""
    return TFG(rho=rho, mu=mu, n_iter=n_iter, n_recur=n_recur, rho_structure=structure, mu_structure=structure)
