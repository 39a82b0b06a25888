"""The distributions of classifier-free guidance between two Gaussians: what ODE and SDE sample, and what is meant.

    p(x | c) = N(0, 1),  p(x) = N(0, 2),  gamma = 1 + w, variance exploding noise

    deterministic sampler   N(0, 2^(1 - gamma))
    stochastic sampler      N(0, (2 - 2^(2 - 2 gamma)) / (2 gamma - 1))
    tilted distribution              N(0, 2 / (1 + gamma)),      p(x | c) p(c | x)^w

Bradley & Nakkiran (arXiv 2408.09000). A sampler is linear here, so its variance follows without Monte Carlo from its
responses to each draw alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tfg_jax.constructors import from_fn
from tfg_jax.denoiser import Denoiser, unit_time
from tfg_jax.guidance.classifier_free.cfg import CFG
from tfg_jax.noise import NoiseTape
from tfg_jax.sample import sample
from tfg_jax.samplers.base import Sampler
from tfg_jax.schedules import EDM


def ode_variance(gamma: float) -> float:
    """Of the deterministic sampler, in the limit of small steps."""
    return 2.0 ** (1.0 - gamma)


def sde_variance(gamma: float) -> float:
    """Of the stochastic sampler, in the limit of small steps."""
    return (2.0 - 2.0 ** (2.0 - 2.0 * gamma)) / (2.0 * gamma - 1.0)


def tilted_variance(gamma: float) -> float:
    """Of the distribution that guidance is meant to sample."""
    return 2.0 / (1.0 + gamma)


def sampled_variance(gamma: float, sampler: Sampler) -> float:
    """Variance of what a sampler gives, exactly: the sum of the squared responses to its draws.

    The sampler has at most one draw a step, as `DDPM`, and a grid for sigma up to 80; gamma is 1 + w of `CFG`.
    """
    steps = sampler.steps
    basis = np.eye(steps + 1)
    tape = NoiseTape(jnp.asarray(basis[:, :1]), step=jnp.asarray(basis[:, 1:].reshape(steps + 1, steps, 1, 1)))
    model = CFG(two_widths(), gamma - 1.0, batched=False)
    out: Any = sample(
        jax.random.key(0), model, cond=jnp.zeros(steps + 1, jnp.int32), sampler=sampler, noise=tape
    ).x  # fmt: skip
    return float(np.sum(np.asarray(out, np.float64) ** 2))


def two_widths() -> Denoiser:
    """The ideal network of the two Gaussians: class 0 is the narrow one, the null condition the wide one."""
    return from_fn(
        _ideal_eps, jnp.asarray([1.0, 2.0]), EDM(), prediction="eps", shape=(1,), network_time=unit_time, num_classes=1,
        null_cond=1,
    )  # fmt: skip


def _ideal_eps(variances: Array, x: Array, t: Array, cond: PyTree) -> Array:
    sigma = EDM().sigma(t)
    return sigma * x / (variances[cond] + sigma**2)
