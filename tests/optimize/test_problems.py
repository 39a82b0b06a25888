"""The simulated problems: exact denoisers against quadrature and Bessel functions, and data in a subspace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import tfg_jax as tfg
from scripts.gradient_guidance import problems
from tfg_jax import analytic
from tfg_jax.schedules import Level

pytestmark = pytest.mark.usefixtures("x64")


def test_bessel_ratios():
    k = np.logspace(-3, 5, 40)
    for order in (1.0, 1.5, 32.0):
        expected = scipy.special.ive(order, k) / scipy.special.ive(order - 1, k) / k
        got = jax.jit(jax.vmap(lambda k, order=order: problems.bessel_ratio_over(k, order)))(jnp.asarray(k))
        np.testing.assert_allclose(got, expected, rtol=2e-5)


def test_the_sphere_of_two_dimensions_by_quadrature():
    angle = np.linspace(0.0, 2 * np.pi, 4001)[:-1]
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    schedule, x = tfg.VPLinear(), jnp.array([0.4, -0.9])
    model = problems.sphere(2, schedule)
    read, gradient = jax.jit(model), jax.jit(jax.jacobian(lambda x: model(x, 0.5).x0))
    levels = jax.jit(schedule.level)
    for t in (0.1, 0.4, 0.9):
        level = levels(t)
        weight = np.exp(-np.sum((np.asarray(x) - float(level.alpha) * points) ** 2, 1) / (2 * float(level.sigma) ** 2))
        np.testing.assert_allclose(read(x, t).x0, weight @ points / weight.sum(), rtol=1e-5)
    assert np.isfinite(gradient(jnp.zeros(2))).all()


def test_the_linear_problem_is_as_published():
    p = problems.linear_problem()
    assert p.basis.shape == (64, 16)
    np.testing.assert_allclose(p.basis.T @ p.basis, np.eye(16), atol=1e-12)
    inside = p.basis @ (p.basis.T @ p.theta_across)
    assert np.isclose(np.linalg.norm(inside), 1 / np.sqrt(82)) and np.isclose(np.linalg.norm(p.theta_across), 1.0)
    np.testing.assert_allclose(p.basis @ (p.basis.T @ p.theta_in), p.theta_in, atol=1e-12)
    assert problems.parabola(p.theta_in)(jnp.asarray(3 * p.theta_in), None) == pytest.approx(10.0)
    assert problems.distance(p.b_same)(jnp.asarray(p.b_same), None) == pytest.approx(5.0)


def test_data_in_a_subspace_have_the_moments_and_estimates_of_their_coordinates():
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0][:, :2]
    data = analytic.mixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.3]], np.stack([np.eye(2) * 0.3, np.eye(2) * 0.1]))
    placed = analytic.in_subspace(basis, data)
    x, alpha, sigma = np.random.default_rng(1).standard_normal(5), 0.8, 0.6
    level = Level(*map(jnp.asarray, (0.4, alpha, sigma)))
    moments = jax.jit(lambda data: (data.mean, data.cov))
    for got, expected in zip(moments(placed), moments(data), strict=True):
        expected = basis @ expected if expected.ndim == 1 else basis @ expected @ basis.T
        np.testing.assert_allclose(got, expected, atol=1e-12)
    clean_at = jax.jit(lambda data, x: data.denoised(x, level))
    denoised = jax.tree.map(np.asarray, clean_at(placed, jnp.asarray(x)))
    inside = np.asarray(clean_at(data, jnp.asarray(basis.T @ x)).x0)
    np.testing.assert_allclose(denoised.x0, basis @ inside, atol=1e-12)
    np.testing.assert_allclose(alpha * denoised.x0 + sigma * denoised.eps, x, atol=1e-12)
    off = jax.jit(lambda key: tfg.optimize.off_support(placed.sample(key, 10), jnp.asarray(basis)))
    assert float(off(jax.random.key(0)).max()) < 1e-12


@pytest.mark.parametrize(
    ("basis", "said"),
    [(np.eye(3)[:, :1], "needs .D, 2."), (np.ones((3, 2)), "orthonormal columns"), (np.eye(1, 2), "needs .D, 2.")],
)
def test_bases_that_cannot_be_meant(basis, said):
    with pytest.raises(ValueError, match=said):
        analytic.in_subspace(basis, analytic.gaussian(np.zeros(2), np.eye(2)))


def test_the_cosine_table_is_the_published_one():
    table = tfg.cosine_table(200)
    assert table.shape == (200,) and np.isclose(1.0 - table[0], 2.55e-4, rtol=2e-3)
    beta = 1.0 - table[1:] / table[:-1]
    assert beta.max() <= 0.999 + 1e-12 and np.isclose(beta[-1], 0.999)
    for bad in ({"num_nodes": 0}, {"num_nodes": 5, "max_beta": 1.0}, {"num_nodes": 5, "offset": -1.0}):
        with pytest.raises(ValueError):
            tfg.cosine_table(**bad)
