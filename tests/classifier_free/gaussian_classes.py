"""Closed-form class-conditional models for the tests of classifier-free guidance."""

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from scripts.cfg.tilted import triangle
from tfg_jax.denoiser import Prediction

__all__ = ["T", "T_NEXT", "close", "network", "point", "posterior", "triangle"]

T, T_NEXT = 0.45, 0.4


def _network(params, x, t, cond):
    hidden = jnp.tanh(params["in"] @ x + params["classes"][cond] + t)
    return params["out"] @ hidden


def network(schedule=None, prediction: Prediction = "eps", null=True, seed=0, d=3):
    """A small random network of 3 classes, without symmetry; class 3 is the null."""
    rng = np.random.default_rng(seed)
    shapes = {"in": (8, d), "classes": (4, 8), "out": (d, 8)}
    params = {name: jnp.asarray(rng.standard_normal(shape) / 2.0) for name, shape in shapes.items()}
    return tfg.from_fn(
        _network, params, schedule or tfg.VPLinear(), prediction=prediction, shape=(d,), num_classes=3,
        null_cond=3 if null else None,
    )  # fmt: skip


def point(d=3, seed=1):
    """One noisy sample."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(d))


def posterior(data):
    """log p(class | x_t) of a mixture up to a constant, as a pytree."""
    return jax.tree_util.Partial(_joint, data)


def _joint(data, x, level):
    return data.noisy(level).joint_log_prob(x)


def close(a, b, atol=1e-12):
    np.testing.assert_allclose(a.x0, b.x0, rtol=0, atol=atol * 10)
    np.testing.assert_allclose(a.eps, b.eps, rtol=0, atol=atol)
