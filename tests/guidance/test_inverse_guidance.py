"""Guidance of inverse problems against closed forms: PiGDM, DPS's normalizer, LGD's average, the exact posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import analytic, objectives, operators
from tfg_jax.guidance.base import smoothed

pytestmark = pytest.mark.usefixtures("x64")

A = np.array([[1.0, -0.4, 0.3], [0.2, 0.8, -0.6]])
Y = np.array([0.7, -0.5])
NOISE = 0.3
COV = np.array([[1.1, 0.3, 0.1], [0.3, 0.7, -0.2], [0.1, -0.2, 0.5]])
MEAN = np.array([0.4, -0.2, 0.1])


def sampled(data, schedule, guidance, objective, **options):
    options = {"sampler": tfg.DDIM(steps=6, eta=0.5), **options}
    target = jnp.asarray(np.stack([Y, Y]))
    start = (jax.random.normal(jax.random.key(1), (2, 3)), 0.9)
    model = data.denoiser(schedule)
    return tfg.sample(
        jax.random.key(2), model, guidance=guidance, objective=objective, target=target, start=start, **options
    )


@pytest.mark.parametrize("schedule", [tfg.VPLinear(), tfg.EDM(sigma_max=30.0), tfg.RectifiedFlow()], ids=type)
@pytest.mark.parametrize("std", [1.0, 0.6])
def test_pigdm_is_exact_for_isotropic_data(schedule, std):
    """Cov[x0 | x_t] = r^2 I if the data are N(m, data_std^2 I): PiGDM is then Bayes' rule, step by step."""
    data = analytic.gaussian(MEAN, std**2 * np.eye(3))
    exact = analytic.conditional_objective(A, NOISE, data)
    likelihood = objectives.gaussian_log_likelihood(operators.matrix(A), NOISE)
    expected = sampled(data, schedule, tfg.ClassifierGuidance(1.0), exact)
    got = sampled(data, schedule, tfg.PiGDM(1.0, data_std=std, weighting="score"), likelihood)
    np.testing.assert_allclose(got.x, expected.x, rtol=1e-9, atol=1e-10)
    assert np.all(got.cost.pullbacks == 6) and np.all(got.cost.objective == 6)


def test_pigdm_is_not_exact_for_other_data():
    """The golden comparison: replacing the covariance by r^2 I costs accuracy, yet less than doing nothing."""
    data = analytic.gaussian(MEAN, COV)
    exact = sampled(data, tfg.VPLinear(), tfg.ClassifierGuidance(1.0), analytic.conditional_objective(A, NOISE, data))
    likelihood = objectives.gaussian_log_likelihood(operators.matrix(A), NOISE)
    pigdm, plain = (sampled(data, tfg.VPLinear(), tfg.PiGDM(s, weighting="score"), likelihood) for s in (1.0, 0.0))
    away = [float(jnp.linalg.norm(run.x - exact.x)) for run in (pigdm, plain)]
    assert 1e-3 < away[0] < 0.5 * away[1]


def test_the_published_weight():
    """One step by hand: alpha r^2 g on top of DDIM, on a variance-preserving schedule."""
    data, schedule = analytic.gaussian(MEAN, COV), tfg.VPLinear()
    likelihood = objectives.gaussian_log_likelihood(operators.matrix(A), NOISE)
    grid = tfg.Explicit(jnp.array([0.6, 0.4]))
    x = jnp.asarray(np.random.default_rng(3).normal(size=(1, 3)))

    def one_step(guidance):
        return tfg.sample(
            jax.random.key(0), data.denoiser(schedule), guidance=guidance, objective=likelihood,
            target=jnp.asarray(Y[None]), start=(x, 0.6), sampler=tfg.DDIM(1, eta=None, grid=grid),
        ).x[0]  # fmt: skip

    now, std = schedule.level(0.6), 0.8
    r2 = std**2 * now.sigma**2 / (now.sigma**2 + std**2 * now.alpha**2)
    inverse = np.linalg.inv(now.alpha**2 * COV + now.sigma**2 * np.eye(3))
    jacobian = now.alpha * COV @ inverse
    denoised = MEAN + jacobian @ (x[0] - now.alpha * MEAN)
    g = jacobian.T @ A.T @ np.linalg.inv(r2 * A @ A.T + NOISE**2 * np.eye(2)) @ (Y - A @ denoised)
    moved = one_step(tfg.PiGDM(0.7, data_std=std)) - one_step(tfg.PiGDM(0.0))
    np.testing.assert_allclose(moved, 0.7 * now.alpha * r2 * g, rtol=1e-9)


def plain_measurement(x):
    return jnp.asarray(A) @ x


def test_a_plain_function_is_linearized_to_the_same_samples():
    data = analytic.gaussian(MEAN, COV)
    by_matrix, by_function = (
        sampled(data, tfg.VPLinear(), tfg.PiGDM(1.0), objectives.gaussian_log_likelihood(operator, NOISE))
        for operator in (operators.matrix(A), plain_measurement)
    )
    np.testing.assert_allclose(by_function.x, by_matrix.x, atol=1e-6)


def test_the_exact_score_in_closed_form():
    """grad log p(y | x_t) = J_D^T A^T (noise^2 I + A Cov A^T)^-1 (y - A D)."""
    data = analytic.gaussian(MEAN, COV)
    objective = analytic.conditional_objective(A, NOISE, data)
    for schedule in (tfg.VPLinear(), tfg.EDM(sigma_max=10.0)):
        level = schedule.level(0.4)
        x = jnp.array([0.3, 1.2, -0.7])
        S = level.alpha**2 * COV + level.sigma**2 * np.eye(3)
        jacobian = level.alpha * COV @ np.linalg.inv(S)
        cov = level.sigma**2 * COV @ np.linalg.inv(S)
        denoised = MEAN + jacobian @ (x - level.alpha * MEAN)
        gain = np.linalg.inv(NOISE**2 * np.eye(2) + A @ cov @ A.T)
        expected = jacobian.T @ A.T @ gain @ (Y - A @ denoised)
        np.testing.assert_allclose(jax.grad(objective)(x, jnp.asarray(Y), level), expected, rtol=1e-9)


def test_the_guided_flow_is_the_posterior():
    """The probability flow of the exact conditional score maps noise to N(mp, Sp); the affine map from its columns."""
    data = analytic.gaussian(MEAN, COV)
    posterior = data.posterior(jnp.asarray(A), jnp.asarray(Y), NOISE)
    objective = analytic.conditional_objective(A, NOISE, data)
    first, steps, left = 0.02, 200, 1e-6
    ds = (1.0 - left - first) / steps

    def gradient(x, s):
        level = tfg.Level(1.0 - s, s, 1.0 - s)
        denoised = data.denoised(x, level)
        eps = denoised.eps - level.sigma * jax.grad(objective)(x, jnp.asarray(Y), level)
        return (x - eps) / s  # x0 - eps with x0 = (x - sigma eps) / alpha

    def step(x, s):
        k1 = gradient(x, s)
        k2 = gradient(x + 0.5 * ds * k1, s + 0.5 * ds)
        k3 = gradient(x + 0.5 * ds * k2, s + 0.5 * ds)
        k4 = gradient(x + ds * k3, s + ds)
        return x + ds / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4), None

    def solve(x):
        x = jax.lax.scan(step, x, first + ds * jnp.arange(steps))[0]
        return x + left * gradient(x, 1.0 - left)  # what is left to data moves the result as well, by all of 1e-6

    flow = jax.jit(jax.vmap(solve))
    out = np.asarray(flow(jnp.concatenate([jnp.zeros((1, 3)), jnp.eye(3)])))
    move = (out[1:] - out[0]).T
    start = posterior.noisy(tfg.Level(*(jnp.asarray(v) for v in (1.0 - first, first, 1.0 - first))))
    mean, cov = move @ start.mean + out[0], move @ start.cov @ move.T
    np.testing.assert_allclose(mean, posterior.mean, atol=1e-8)
    np.testing.assert_allclose(cov, posterior.cov, atol=1e-8)
    assert np.linalg.norm(posterior.mean - data.mean) > 0.3


def test_the_residual_norm_is_the_square_divided_by_its_root():
    """grad ||r|| = grad (||r||^2 / 2) / ||r||, per sample, and 0 where the fit is perfect."""
    operator = operators.matrix(A)
    norm, square = objectives.residual_norm(operator), objectives.gaussian_log_likelihood(operator, 1.0)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    for x in xs:
        expected = jax.grad(square)(x, jnp.asarray(Y)) / square.residual_norm(x, jnp.asarray(Y))
        np.testing.assert_allclose(jax.grad(norm)(x, jnp.asarray(Y)), expected, rtol=1e-12)
        np.testing.assert_array_equal(jax.grad(norm)(x, operator(x)), np.zeros(3))
    data = analytic.gaussian(MEAN, COV)
    published = sampled(data, tfg.VPLinear(), tfg.DPS(0.5, normalize="residual"), square)
    unsquared = sampled(data, tfg.VPLinear(), tfg.FreeDoM(0.5, structure="constant"), norm)
    np.testing.assert_allclose(published.x, unsquared.x, rtol=1e-9)


def test_smoothing_averages_without_another_factor():
    """Doubling every draw changes nothing, and draws of radius 0 are the objective itself, however many."""
    objective = objectives.gaussian_log_likelihood(operators.matrix(A), NOISE)
    x = jnp.array([0.3, -0.2, 0.5])
    f = lambda x0: objective(x0, jnp.asarray(Y))  # noqa: E731
    draws = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))
    single, double = (jax.grad(smoothed(f, d))(x) for d in (draws, jnp.concatenate([draws, draws])))
    np.testing.assert_allclose(double, single, rtol=1e-12)
    for count in (1, 3):
        np.testing.assert_allclose(jax.grad(smoothed(f, jnp.zeros((count, 3))))(x), jax.grad(f)(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("guidance", "objective", "message"),
    [
        (lambda: tfg.PiGDM(strength=-1.0), "gaussian", "strength=-1"),
        (lambda: tfg.PiGDM(data_std=0.0), "gaussian", "data_std=0"),
        (lambda: tfg.PiGDM(weighting="paper"), "gaussian", "weighting='paper' is unknown"),  # type: ignore[arg-type]
        (lambda: tfg.PiGDM(), "norm", "PiGDM needs the objective of a Gaussian measurement itself, not ResidualNorm"),
        (lambda: tfg.PiGDM(), "weighted", "not Weighted; use gaussian_log_likelihood"),
    ],
)
def test_what_pigdm_cannot_use_is_refused(guidance, objective, message):
    gaussian = objectives.gaussian_log_likelihood(operators.matrix(A), NOISE)
    made = {
        "gaussian": gaussian,
        "norm": objectives.residual_norm(operators.matrix(A)),
        "weighted": objectives.weighted(gaussian, 2.0),
    }
    with pytest.raises(ValueError, match=message):
        sampled(analytic.gaussian(MEAN, COV), tfg.VPLinear(), guidance(), made[objective])
