"""Gradients from values alone: unbiased on quadratics, exact fits of linear rewards, host functions as rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import analytic, optimize

D = 5
THETA = np.linspace(-1.0, 2.0, D).astype(np.float32)


def quadratic(x0, target):
    return -jnp.sum((x0 - 1.0) ** 2) + target


def gradients(way, objective, z, target):
    values = jax.vmap(objective)(z, target)
    return way(jax.random.key(0), objective, z, target, (z, values))


def host(x, target):
    assert isinstance(x, np.ndarray) and x.ndim == 2
    return x @ THETA if target is None else x @ THETA + target


@pytest.fixture
def z():
    return jax.random.normal(jax.random.key(1), (6, D))


def test_autodiff(z):
    got = gradients(optimize.Autodiff(), quadratic, z, jnp.zeros(6))
    np.testing.assert_allclose(got, -2.0 * (z - 1.0), rtol=1e-6)


def test_antithetic_directions_are_unbiased_on_quadratics(z):
    exact = -2.0 * (z - 1.0)
    got = gradients(optimize.Antithetic(directions=4000, radius=0.1), quadratic, z, jnp.zeros(6))
    error = jnp.linalg.norm(got - exact, axis=1) / jnp.linalg.norm(exact, axis=1)
    assert error.max() < 3.0 * np.sqrt((D + 1) / 4000)
    other = jax.vmap(lambda g, e: g @ e / jnp.linalg.norm(g) / jnp.linalg.norm(e))(
        gradients(optimize.Antithetic(directions=64), quadratic, z, jnp.zeros(6)), exact
    )
    assert other.min() > 0.8


def test_least_squares_is_exact_for_linear_rewards(z):
    many = jax.random.normal(jax.random.key(2), (40, D))
    objective = lambda x0, target: x0 @ THETA + 3.0  # noqa: E731
    got = gradients(optimize.LeastSquares(ridge=1e-6), objective, many, jnp.zeros(40))
    np.testing.assert_allclose(got, np.broadcast_to(THETA, (40, D)), atol=1e-3)


def test_least_squares_of_a_small_batch_lies_in_its_span():
    few = jax.random.normal(jax.random.key(3), (3, D))
    g = gradients(optimize.LeastSquares(), lambda x0, target: x0 @ THETA, few, jnp.zeros(3))[0]
    span = np.linalg.svd(np.asarray(few - few.mean(0)))[2][:2]
    np.testing.assert_allclose(span.T @ (span @ g), g, atol=1e-5)
    same = gradients(optimize.LeastSquares(), quadratic, jnp.ones((3, D)), jnp.zeros(3))
    assert np.isfinite(same).all() and np.abs(same).max() == 0.0


def test_host_functions_under_vmap_and_jit(z):
    reward = optimize.from_values(host)
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda x: reward(x, None)))(z), z @ THETA, rtol=1e-5)
    nested = jax.vmap(jax.vmap(lambda x: reward(x, None)))(z.reshape(2, 3, D))
    np.testing.assert_allclose(nested.ravel(), z @ THETA, rtol=1e-5)
    np.testing.assert_allclose(
        jax.vmap(reward)(z, jnp.arange(6.0)), z @ THETA + np.arange(6.0), rtol=1e-5
    )  # fmt: skip
    wrong = optimize.from_values(lambda x, target: x)
    with pytest.raises(Exception, match="objective returned shape"):
        jax.vmap(lambda x: wrong(x, None))(z).block_until_ready()


@pytest.mark.parametrize("way", [optimize.Antithetic(directions=16, radius=0.1), optimize.LeastSquares()])
@pytest.mark.parametrize("linearize", ["sample", "mean"])
def test_a_black_box_is_raised_like_any_reward(way, linearize):
    model = analytic.gaussian(np.zeros(D), np.eye(D)).denoiser(tfg.VPCosine())
    run = lambda objective, way: optimize.iterate(  # noqa: E731
        jax.random.key(0), model, objective, rounds=3, batch=32, delta=2.0, sampler=tfg.DDIM(steps=10), gradient=way,
        linearize=linearize,
    )  # fmt: skip
    reward = run(optimize.from_values(host), way).history["reward"]
    assert reward[-1] > reward[0] + 3.0


def test_values_alone_cannot_be_differentiated():
    model = analytic.gaussian(np.zeros(D), np.eye(D)).denoiser(tfg.VPCosine())
    with pytest.raises(ValueError, match="gradient=Autodiff cannot differentiate from_values; use Antithetic"):
        optimize.iterate(jax.random.key(0), model, optimize.from_values(host), rounds=1, batch=2, delta=1.0)
