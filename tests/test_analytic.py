"""Analytic models against quadrature, brute-force Bayes, automatic differentiation and moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tfg_jax import analytic
from tfg_jax.schedules import EDM, VE, RectifiedFlow, VPCosine, VPLinear, from_alphas_cumprod

PREDICTIONS = ("eps", "x0", "v", "score", "velocity", "edm")
SCHEDULES = {
    "vp-linear": lambda: VPLinear(),
    "vp-cosine": lambda: VPCosine(),
    "ve": lambda: VE(),
    "edm": lambda: EDM(),
    "rectified-flow": lambda: RectifiedFlow(),
    "discrete": lambda: from_alphas_cumprod(np.linspace(0.99, 0.01, 10)),
}
pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(params=SCHEDULES)
def schedule(request):
    return SCHEDULES[request.param]()


def line():
    return analytic.mixture([1.0, 2.0, 1.0], [[-1.0], [0.2], [1.5]], [[[0.04]], [[0.25]], [[0.01]]])


def plane():
    covs = [[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]]
    return analytic.mixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.3]], covs)


def normal(x, mean, var):
    return np.exp(-0.5 * (x - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)


def line_density(x):
    return 0.25 * normal(x, -1.0, 0.04) + 0.5 * normal(x, 0.2, 0.25) + 0.25 * normal(x, 1.5, 0.01)


# One compilation for all schedules of a kind, instead of one for every operation.
clean_at = jax.jit(lambda data, x, level: (data.denoised(x, level), data.given(x, level).cov))
score_at = jax.jit(lambda data, x, level: (data.score(x, level), jax.grad(data.noisy(level).log_prob)(x)))
gradient_at = jax.jit(lambda objective, x, target, level: jax.grad(objective)(x, target, level))
score_of_data = jax.jit(lambda data, x: data.score(x))
read = jax.jit(lambda denoiser, x, t: denoiser(x, t))
log_probs = jax.jit(lambda data, points: jax.vmap(data.log_prob)(points))
posterior_of = jax.jit(lambda data, A, y, noise_std: data.posterior(A, y, noise_std))
moments = jax.jit(lambda data: (data.mean, data.cov))
draw = jax.jit(lambda data, key: data.sample(key, 40_000))
flow_map = jax.jit(lambda data, x, now, next: data.flow_map(x, now, next))

GRID = np.linspace(-5.0, 5.0, 40001)
STEP = GRID[1] - GRID[0]


def test_density_and_its_moments():
    density = log_probs(line(), jnp.asarray(GRID)[:, None])
    np.testing.assert_allclose(np.exp(density), line_density(GRID), atol=1e-13)
    mean = np.sum(GRID * line_density(GRID)) * STEP
    spread = np.sum((GRID - mean) ** 2 * line_density(GRID)) * STEP
    np.testing.assert_allclose(moments(line())[0], [mean], rtol=1e-10)
    np.testing.assert_allclose(moments(line())[1], [[spread]], rtol=1e-10)


def test_the_clean_estimate_is_the_posterior_mean_by_quadrature(schedule):
    for t, x in ((0.05, 0.3), (0.4, -0.6), (0.9, 1.1)):
        level = schedule.level(t)
        x = float(level.scale) * x
        distribution = line_density(GRID) * normal(x, float(level.alpha) * GRID, float(level.sigma) ** 2)
        distribution /= distribution.sum()
        denoised, cov = clean_at(line(), jnp.array([x]), level)
        mean, spread = np.sum(GRID * distribution), np.sum(GRID**2 * distribution) - np.sum(GRID * distribution) ** 2
        np.testing.assert_allclose(denoised.x0[0], mean, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(cov[0, 0], spread, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(level.alpha * denoised.x0 + level.sigma * denoised.eps, [x], rtol=1e-12)


def test_the_score_is_the_gradient_of_the_log_density(schedule):
    x = jnp.array([0.4, -0.9])
    for t in (0.1, 0.6, 0.99):
        level = schedule.level(t)
        score, gradient = score_at(plane(), x, level)
        np.testing.assert_allclose(score, gradient, rtol=1e-10)
        np.testing.assert_allclose(clean_at(plane(), x, level)[0].eps, -level.sigma * score, rtol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_gives_the_same_estimate(schedule, prediction):
    denoiser = plane().denoiser(schedule, prediction)
    for t in (0.1, 0.35, 0.7, 0.95):
        level = schedule.level(t)
        x = level.scale * jnp.array([0.7, -0.4])
        got, exact = read(denoiser, x, t), clean_at(plane(), x, level)[0]
        np.testing.assert_allclose(got.x0, exact.x0, rtol=1e-9)
        np.testing.assert_allclose(got.eps, exact.eps, rtol=1e-9)


def test_noisy_distribution_by_moments(schedule):
    level = schedule.level(0.3)
    distribution = plane().noisy(level)
    key_data, key_noise, key_distribution = jax.random.split(jax.random.key(0), 3)
    x0 = np.asarray(draw(plane(), key_data))
    noised = float(level.alpha) * x0 + float(level.sigma) * np.asarray(jax.random.normal(key_noise, x0.shape))
    scale, (mean, cov) = float(level.scale), moments(distribution)
    for x in (noised, np.asarray(draw(distribution, key_distribution))):
        np.testing.assert_allclose(x.mean(0), mean, atol=0.02 * scale)
        np.testing.assert_allclose(np.cov(x.T), cov, atol=0.03 * scale**2)


def test_posterior_against_brute_force_in_1d():
    A, y, noise_std = jnp.array([[2.0]]), jnp.array([0.9]), 0.5
    distribution = line_density(GRID) * normal(0.9, 2.0 * GRID, 0.25)
    np.testing.assert_allclose(line().log_evidence(A, y, noise_std), np.log(distribution.sum() * STEP), rtol=1e-10)
    density = np.exp(log_probs(posterior_of(line(), A, y, noise_std), jnp.asarray(GRID)[:, None]))
    np.testing.assert_allclose(density, distribution / distribution.sum() / STEP, atol=1e-11)


def test_posterior_against_brute_force_in_2d():
    A, y, noise_std = jnp.array([[1.0, -0.5]]), jnp.array([0.3]), 0.2
    side = np.linspace(-5.0, 5.0, 401)
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    distribution = np.exp(log_probs(plane(), points) - 0.5 * ((0.3 - points @ np.array([1.0, -0.5])) / noise_std) ** 2)
    distribution /= distribution.sum()
    posterior = posterior_of(plane(), A, y, noise_std)
    mean, cov = moments(posterior)
    np.testing.assert_allclose(mean, distribution @ points, atol=1e-9)
    np.testing.assert_allclose(cov, np.cov(points.T, aweights=distribution, ddof=0), atol=1e-9)
    np.testing.assert_allclose(posterior.weights.sum(), 1.0, rtol=1e-12)


def test_posterior_of_a_nearly_exact_measurement():
    mean, cov = moments(posterior_of(plane(), jnp.eye(2), jnp.array([0.1, 0.2]), 1e-6))
    np.testing.assert_allclose(mean, [0.1, 0.2], atol=1e-9)
    np.testing.assert_allclose(cov, 1e-12 * np.eye(2), rtol=1e-4, atol=1e-16)


def test_exact_conditional_score(schedule):
    """Bayes' rule: score + grad log p(y | x_t) is the score of the noised posterior."""
    A, y, noise_std, x = jnp.array([[0.3, 1.0]]), jnp.array([0.4]), 0.3, jnp.array([0.5, -0.2])
    objective = analytic.conditional_objective(A, noise_std, plane())
    posterior = posterior_of(plane(), A, y, noise_std)
    for t in (0.01, 0.5, 0.9):
        level = schedule.level(t)
        guided = score_at(plane(), x, level)[0] + gradient_at(objective, x, y, level)
        np.testing.assert_allclose(guided, score_at(posterior, x, level)[0], rtol=1e-8)


def test_component_objective_is_bayes_rule(schedule):
    x, k, level = jnp.array([0.5, -0.2]), jnp.array(1), schedule.level(0.5)
    objective = analytic.component_objective(plane())
    alone = analytic.gaussian(plane().means[1], [[0.1, -0.05], [-0.05, 0.4]])
    guided = score_at(plane(), x, level)[0] + gradient_at(objective, x, k, level)
    np.testing.assert_allclose(guided, score_at(alone, x, level)[0], rtol=1e-9)


def test_clean_component_objective():
    x, denoised = jnp.array([0.5, -0.2]), analytic.component_objective(plane(), noisy=False)
    alone = analytic.gaussian(plane().means[1], [[0.1, -0.05], [-0.05, 0.4]])
    share = np.log(0.7) + log_probs(alone, x[None])[0] - log_probs(plane(), x[None])[0]
    np.testing.assert_allclose(denoised(x, jnp.array(1)), share, rtol=1e-12)


jacobian_of_flow = jax.jit(lambda data, x, now, next: jax.jacobian(data.flow_map)(x, now, next))


def one_gaussian():
    return analytic.gaussian([0.5, -1.0], [[0.3, 0.1], [0.1, 0.2]])


def test_gaussian_flow_maps_marginals_exactly(schedule):
    now, next = schedule.level(0.8), schedule.level(0.2)
    distribution = one_gaussian()
    mean, cov = moments(distribution.noisy(now))
    mean_next, cov_next = moments(distribution.noisy(next))
    jacobian = jacobian_of_flow(distribution, mean, now, next)
    np.testing.assert_allclose(flow_map(distribution, mean, now, next), mean_next, rtol=1e-12)
    np.testing.assert_allclose(jacobian @ cov @ jacobian.T, cov_next, rtol=1e-11)


@pytest.mark.parametrize("data", [one_gaussian, plane])
def test_flow_maps_compose_and_invert(data):
    schedule = VPLinear()
    t, s, u = (schedule.level(time) for time in (0.9, 0.4, 0.05))
    distribution, x = data(), jnp.array([1.2, 0.3])
    direct = flow_map(distribution, x, t, u)
    np.testing.assert_allclose(flow_map(distribution, flow_map(distribution, x, t, s), s, u), direct, rtol=1e-9)
    np.testing.assert_allclose(flow_map(distribution, direct, u, t), x, rtol=1e-9)


def test_mixture_flow_carries_the_distribution():
    """In one dimension the flow maps quantiles to quantiles, from noise to the clean data."""
    now, next = VPLinear().level(0.6), VPLinear().level(0.0)

    def cdf(distribution, x):
        return distribution.weights @ scipy.stats.norm.cdf(
            (x - distribution.means[:, 0]) / np.sqrt(distribution.variances[:, 0])
        )

    for x in (-1.2, 0.1, 1.3):
        moved = flow_map(line(), jnp.array([x]), now, next)
        np.testing.assert_allclose(cdf(line().noisy(next), moved[0]), cdf(line().noisy(now), x), rtol=1e-6)


def test_mixture_flow_agrees_with_a_gaussian():
    now, next, x = VPLinear().level(0.9), VPLinear().level(0.0), jnp.array([0.4, -0.5])
    twice = analytic.mixture([1, 1], [one_gaussian().means[0]] * 2, [one_gaussian().covs[0]] * 2)
    np.testing.assert_allclose(flow_map(twice, x, now, next), flow_map(one_gaussian(), x, now, next), rtol=1e-9)


def test_towards_clean_data(schedule):
    x = jnp.array([0.4, -0.5])
    level = schedule.level(1e-10)
    denoised, _ = clean_at(plane(), x, level)
    score, gradient = score_at(plane(), x, schedule.level(0.0))
    np.testing.assert_allclose(denoised.x0, x, atol=1e-5)
    np.testing.assert_allclose(denoised.eps, -level.sigma * score, rtol=1e-4)
    np.testing.assert_allclose(gradient, score_of_data(plane(), x), rtol=1e-12)


def test_single_precision_at_tiny_noise():
    with jax.enable_x64(False):
        data, level = plane(), EDM(sigma_max=1.0).level(1e-6)
        x = jnp.array([0.4, -0.5], jnp.float32)
        denoised, _ = clean_at(data, x, level)
        objective = analytic.conditional_objective(jnp.eye(2), 0.1, data)
        gradient = gradient_at(objective, x, x + 0.1, level)
        assert denoised.x0.dtype == denoised.eps.dtype == gradient.dtype == jnp.float32
        np.testing.assert_allclose(denoised.x0, x, atol=1e-6)
        np.testing.assert_allclose(denoised.eps / -level.sigma, score_of_data(data, x), rtol=1e-4)
        np.testing.assert_allclose(gradient, 0.1 / 0.1**2 * np.ones(2), rtol=1e-4)
        far, _ = score_at(data, jnp.array([300.0, -300.0]), level)
        assert bool(jnp.all(jnp.isfinite(far)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: analytic.mixture([1.0], [[0.0, 1.0]], [np.eye(3)]), "must be .K,."),
        (lambda: analytic.mixture([1.0, -1.0], np.zeros((2, 1)), np.ones((2, 1, 1))), "weights=.* must be"),
        (lambda: analytic.mixture([1.0], [[np.nan]], [[[1.0]]]), "means=.* must be"),
        (lambda: analytic.gaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "covs must be symmetric"),
        (lambda: analytic.gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: plane().posterior(jnp.eye(2), jnp.zeros(2), 0.0), "noise_std=0"),
        (lambda: analytic.conditional_objective(jnp.eye(3), 0.1, plane()), "A has shape"),
        (lambda: analytic.conditional_objective(jnp.eye(2), -1.0, plane()), "noise_std=-1"),
        (lambda: analytic.conditional_objective(jnp.eye(2), 1.0, plane()).check(jnp.zeros((4, 3)), 4, (2,)), "target"),
        (lambda: analytic.component_objective(plane()).check(jnp.zeros(4), 4, (2,)), "integers"),
        (lambda: analytic.component_objective(plane()).check(jnp.full(4, 2), 4, (2,)), "0..1"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_unknown_prediction_is_refused():
    """By the library without type checks, by them with."""
    with pytest.raises((ValueError, TypeError), match="noise"):
        plane().denoiser(VPLinear(), "noise")  # type: ignore[arg-type]


def test_flow_map_refuses_steps_without_effect():
    now, next = VPLinear().level(0.9), VPLinear().level(0.1)
    with pytest.raises(ValueError, match="steps=8 has no effect"):
        one_gaussian().flow_map(jnp.zeros(2), now, next, steps=8)
    with pytest.raises(ValueError, match="steps=0 must be"):
        plane().flow_map(jnp.zeros(2), now, next, steps=0)
