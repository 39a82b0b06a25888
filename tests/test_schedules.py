"""Schedules: identities, inverses, exact nodes, straight-line coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.denoiser import path_velocity

TABLE = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
BUILD = {
    "vp_linear": tfg.VPLinear,
    "vp_constant_beta": lambda: tfg.VPLinear(beta_min=4.0, beta_max=4.0),
    "vp_cosine": tfg.VPCosine,
    "vp_truncated_cosine": tfg.VPTruncatedCosine,
    "vp_polynomial": tfg.VPPolynomial,
    "ve": tfg.VE,
    "edm": tfg.EDM,
    "flow": tfg.RectifiedFlow,
    "discrete": lambda: tfg.from_alphas_cumprod(TABLE),
}
VP = ("vp_linear", "vp_constant_beta", "vp_cosine", "vp_truncated_cosine", "vp_polynomial", "discrete")
TIMES = np.array([0.003, 0.05, 0.123, 0.31, 0.5, 0.777, 0.95])


@pytest.fixture(params=BUILD)
def schedule(request, x64):
    return BUILD[request.param]()


def test_ends(schedule):
    assert float(schedule.alpha(0.0)) == 1.0 and float(schedule.sigma(0.0)) == 0.0
    assert np.isposinf(schedule.log_snr(0.0)) and float(schedule.level(0.0).s) == 1.0
    start = schedule.level(schedule.t_start)
    assert float(start.alpha) > 0 and float(start.sigma) > 0 and float(schedule.t_start) <= 1.0


def test_log_snr_decreases_and_inverts(schedule):
    t = jnp.linspace(0.001, schedule.t_start, 400)
    log_snr = np.asarray(schedule.log_snr(t))
    assert np.all(np.diff(log_snr) < 0)
    np.testing.assert_allclose(schedule.t_of_log_snr(schedule.log_snr(jnp.asarray(TIMES))), TIMES, rtol=1e-9)
    np.testing.assert_allclose(schedule.t_of_s(schedule.level(jnp.asarray(TIMES)).s), TIMES, rtol=1e-9)


def test_level_identities(schedule):
    level = schedule.level(jnp.asarray(TIMES))
    a, s = np.asarray(level.alpha), np.asarray(level.sigma)
    np.testing.assert_allclose(level.scale, np.hypot(a, s), rtol=1e-14)
    np.testing.assert_allclose(level.abar, a**2 / (a**2 + s**2), rtol=1e-14)
    np.testing.assert_allclose(level.abar + level.noise_share, 1.0, rtol=1e-14)
    np.testing.assert_allclose(level.s, a / (a + s), rtol=1e-14)
    np.testing.assert_allclose(level.log_snr, np.log(a**2 / s**2), rtol=1e-12, atol=1e-12)


def test_velocity_of_the_path(schedule):
    h = 1e-6
    for t in (0.1235, 0.5005, 0.8765):  # between the nodes of a table
        central = [(f(t + h) - f(t - h)) / (2 * h) for f in (schedule.alpha, schedule.sigma)]
        np.testing.assert_allclose(path_velocity(schedule, jnp.asarray(t)), central, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", VP)
def test_variance_is_preserved(name, x64):
    level = BUILD[name]().level(jnp.asarray(TIMES))
    np.testing.assert_allclose(level.alpha**2 + level.sigma**2, 1.0, rtol=1e-12)


def test_one_straight_step_to_the_data_is_tweedie(schedule):
    """xbar = x / (alpha + sigma), d xbar / ds = x0 - eps: an Euler step from s to 1 lands on x0 exactly."""
    level = schedule.level(0.6)
    x0, eps = jnp.array([0.3, -0.7]), jnp.array([1.1, 0.4])
    x = level.alpha * x0 + level.sigma * eps
    np.testing.assert_allclose(x / (level.alpha + level.sigma) + (1.0 - level.s) * (x0 - eps), x0, rtol=1e-11)


@pytest.mark.parametrize("x64_on", [False, True])
def test_nodes_of_a_table_are_exact(x64_on):
    with jax.enable_x64(x64_on):
        schedule = tfg.from_alphas_cumprod(TABLE)
        tolerance = 1e-13 if x64_on else 2e-6
        k = np.arange(1000)
        times = jnp.asarray((k + 1) / 1000)
        assert schedule.num_nodes == 1000
        np.testing.assert_allclose(schedule.level(times).abar, TABLE, rtol=tolerance)
        np.testing.assert_allclose(schedule.sigma(times) ** 2, 1.0 - TABLE, rtol=tolerance)
        # Between two nodes: the geometric mean.
        np.testing.assert_allclose(schedule.alpha(4.5 / 1000) ** 4, TABLE[3] * TABLE[4], rtol=2 * tolerance)


def test_small_noise_is_accurate_in_single_precision():
    """1 - abar at the clean end, where it would cancel: against double precision."""
    for build in (tfg.VPLinear, tfg.VPCosine, tfg.VE):
        single = np.asarray(build().sigma(jnp.float32(1e-3)))
        with jax.enable_x64(True):
            np.testing.assert_allclose(single, build().sigma(np.float64(np.float32(1e-3))), rtol=1e-4)


def test_published_values(x64):
    """VP: int beta = 10.05 at t = 1. Cosine: cos(pi/2 (t + s)/(1 + s)). VE: sigma_max at t = 1 up to sigma_min."""
    np.testing.assert_allclose(tfg.VPLinear().alpha(1.0), np.exp(-0.5 * 10.05), rtol=1e-12)
    cosine = np.cos(np.pi / 2 * 0.508 / 1.008) / np.cos(np.pi / 2 * 0.008 / 1.008)
    np.testing.assert_allclose(tfg.VPCosine().alpha(0.5), cosine, rtol=1e-12)
    np.testing.assert_allclose(tfg.VE(0.01, 50.0).sigma(1.0) ** 2 + 0.01**2, 2500.0, rtol=1e-12)
    assert float(tfg.EDM(80.0).sigma(0.25)) == 20.0 and float(tfg.RectifiedFlow().alpha(0.25)) == 0.75


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.full((2, 3), 0.5), "shape"),
        (np.array([]), "shape"),
        (np.array([0.5, 0.9]), "decrease"),
        (np.array([1.0, 0.5]), "decrease"),
        (np.array([0.5, np.nan]), "decrease"),
        (np.array([0.5, 0.0, 0.0]), "decrease"),
        (np.array([0.5, -0.1]), "decrease"),
        (np.array([0.0]), "no node with signal"),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(ValueError, match=f"alphas_cumprod .*{message}"):
        tfg.from_alphas_cumprod(table)


def test_the_cosine_ends_at_data_inside_the_sampler_whatever_its_offset():
    """Heun takes one forward less on the last step, which it knows by sigma = 0."""
    for offset in (0.008, 0.0085, 0.009, 0.0165):
        model = tfg.from_fn(eps_of_noise, None, tfg.VPCosine(offset=offset), prediction="eps", shape=(4,))
        out = tfg.sample(jax.random.key(0), model, num_samples=1, sampler=tfg.Heun(steps=4))
        assert np.asarray(out.cost.forwards).tolist() == [7], offset


def eps_of_noise(params, x, t, cond):
    return x * t
