"""Networks of molecules that compile in no time: functions of the same kind, of sizes and distances alone."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

import tfg_jax as tfg
from tfg_jax.models.egnn.convert import PropertyPredictor

NAMES = ("mu", "alpha", "homo", "lumo", "gap", "cv")


def toward_shells(gain, x, t, cond):
    """A clean molecule: every atom goes on towards where it is seen from the mean of the others."""
    rows = (jnp.arange(x.shape[0]) < cond)[:, None]
    mean = jnp.sum(x * rows, 0) / jnp.maximum(cond, 1)
    return jnp.tanh(jnp.sum(x[:, :3] ** 2, 1, keepdims=True)) * (gain * x - 0.5 * mean) + 0.1 * rows


class Invariants(nnx.Module):
    """Linear in the mean square of positions, the mean features and the atom count."""

    def __init__(self, outputs: int, seed: int):
        self.weights = nnx.Param(jnp.asarray(np.random.default_rng(seed).normal(size=(outputs, 8)), jnp.float32))

    def __call__(self, positions, features, mask, log_snr):
        count = jnp.sum(mask, -1, keepdims=True)
        square = jnp.sum(jnp.square(positions) * mask[..., None], (-2, -1))[..., None]
        seen = jnp.concatenate([square, jnp.sum(features * mask[..., None], -2)], -1) / jnp.maximum(count, 1)
        return jnp.concatenate([jnp.tanh(seen), 0.1 * count], -1) @ self.weights.get_value().T


def model(rows: int = 29):
    domain = tfg.domains.molecules(rows, 6)
    return tfg.from_fn(
        toward_shells, jnp.asarray(0.9), tfg.VPPolynomial(), prediction="x0", domain=domain, num_classes=rows + 1
    )


def predictor(name: str, seed: int, names: tuple[str, ...] = NAMES):
    graphdef, params = nnx.split(Invariants(len(names), seed))
    mean, scale = jnp.linspace(70.0, 75.0, len(names)), jnp.linspace(2.0, 3.0, len(names))
    return PropertyPredictor(nnx.to_pure_dict(params), mean, scale, graphdef, names, name)


def guide():
    return predictor("tiny-guide", 1)


def evaluator():
    return predictor("tiny-evaluator", 2)


def of_alpha():
    return predictor("alpha alone", 3, ("alpha",))


def small():
    return model(9)
