"""The process, sampler and training of Ho & Salimans, and the three Gaussians of its figure 2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from scripts.cfg import tilted
from tfg_jax.denoiser import unit_time
from tfg_jax.training.diffusion import diffusion_loss

# r, s, w: mean_y, var_x, var_y, entropy, E[p(c|x)], skew_y of class 0, computed independently on a 1601 x 1601 grid
TILTED = {
    (1, 1, 0): (1.0000, 1.0000, 1.0000, 2.8379, 0.5888, 0.0),
    (1, 1, 1): (1.4325, 0.8554, 0.7442, 2.6088, 0.7117, 0.1005),
    (1, 1, 2): (1.6721, 0.7910, 0.6264, 2.4782, 0.7760, 0.1880),
    (1, 1, 4): (1.9524, 0.7269, 0.5181, 2.3328, 0.8413, 0.2842),
    (1, 1, 8): (2.2546, 0.6683, 0.4325, 2.1916, 0.8955, 0.3606),
    (2, 1, 0): (2.0000, 1.0000, 1.0000, 2.8379, 0.8909, 0.0),
    (2, 1, 1): (2.1716, 0.9090, 0.7936, 2.6627, 0.9428, 0.2415),
    (2, 1, 2): (2.2446, 0.8767, 0.7279, 2.5916, 0.9592, 0.3193),
    (2, 1, 4): (2.3273, 0.8435, 0.6662, 2.5171, 0.9727, 0.3870),
    (2, 1, 8): (2.4193, 0.8097, 0.6092, 2.4411, 0.9825, 0.4445),
}


@pytest.mark.parametrize("row", TILTED, ids=str)
def test_tilted_distributions_by_quadrature(row):
    radius, std, w = map(float, row)
    found = tilted.tilted(tilted.triangle(radius, std), 0, w, grid=301)
    names = ("mean_y", "var_x", "var_y", "entropy", "class_probability", "skew_y")
    np.testing.assert_allclose([getattr(found, name) for name in names], TILTED[row], atol=1e-4)
    assert abs(found.mean_x) < 1e-10


@pytest.mark.parametrize(
    ("sampler", "w", "expected"),
    [
        (tfg.DDPM(steps=256, v=0.3, grid=tfg.CosineLogSNR()), 1.0, (2.504, 0.832, 0.701)),
        (tfg.DDPM(steps=256, v=0.3, grid=tfg.CosineLogSNR()), 2.0, (2.726, 0.813, 0.654)),
        (tfg.DDIM(steps=256, eta=None, grid=tfg.CosineLogSNR()), 1.0, (2.825, 0.700, 0.510)),
        (tfg.DDIM(steps=256, eta=None, grid=tfg.CosineLogSNR()), 2.0, (3.340, 0.605, 0.397)),
    ],
    ids=["ancestral-1", "ancestral-2", "ode-1", "ode-2"],
)
def test_samplers_do_not_reach_the_tilted_distributions(sampler, w, expected):
    """mean_y, var_x, var_y of class 0 at r = 2, s = 1, as 40,000 samples gave them elsewhere; here 1,000."""
    n = 1000
    model = tfg.CFG(tilted.triangle(2.0).class_denoiser(tfg.VPTruncatedCosine()), w)
    out = tfg.sample(jax.random.key(0), model, cond=jnp.zeros(n, jnp.int32), sampler=sampler)
    found = tilted.moments(tilted.triangle(2.0), 0, np.asarray(out.x))
    mean, var_x, var_y = expected
    assert abs(found.mean_y - mean) < 4.0 * np.sqrt(var_y / n) + 0.01 and abs(found.mean_x) < 4.0 * np.sqrt(var_x / n)
    for got, want in ((found.var_x, var_x), (found.var_y, var_y)):
        assert abs(got - want) < 5.0 * want * np.sqrt(2.0 / n) + 0.01


def test_log_snr_distribution(x64):
    """-2 log tan(a u + b): 20 at u = 0, 0 at 1/2, -20 at 1; the truncated cosine has it as its own log-SNR."""
    distribution, schedule = tfg.CosineLogSNR(), tfg.VPTruncatedCosine()
    u = jnp.linspace(0.0, 1.0, 9)
    l = distribution.log_snr(u, -20.0)  # noqa: E741
    np.testing.assert_allclose(l[jnp.array([0, 4, 8])], [20.0, 0.0, -20.0], atol=1e-9)
    b = np.arctan(np.exp(-10.0))
    np.testing.assert_allclose(l[1:-1], -2.0 * np.log(np.tan((np.arctan(np.exp(10.0)) - b) * u + b))[1:-1], atol=1e-9)
    level = schedule.level(distribution.times(schedule, u))
    np.testing.assert_allclose(level.log_snr, l, atol=1e-9)
    np.testing.assert_allclose(level.alpha**2 + level.sigma**2, 1.0, atol=1e-14)
    np.testing.assert_allclose(level.alpha**2, jax.nn.sigmoid(l), rtol=1e-9)
    np.testing.assert_allclose(schedule.level(1.0).log_snr, -20.0, atol=1e-9)
    assert schedule.sigma(0.0) == 0.0 and schedule.alpha(0.0) == 1.0
    grid = distribution(schedule, 5)
    assert grid.shape == (6,) and grid[-1] == 0.0
    np.testing.assert_allclose(
        schedule.log_snr(grid[:-1]), distribution.log_snr(jnp.linspace(1.0, 0.0, 5), -20.0), atol=1e-9
    )
    cosine = tfg.VPCosine()
    np.testing.assert_allclose(tfg.CosineLogSNR(log_snr_min=None)(cosine, 5)[0], cosine.t_start, rtol=1e-9)


def test_ends_keep_their_digits_in_single_precision():
    """alpha = 4.54e-5 at the noisy end: a float32 cosine there would be off by a part in a thousand."""
    schedule = tfg.VPTruncatedCosine()
    np.testing.assert_allclose(schedule.alpha(1.0), np.sqrt(1.0 / (1.0 + np.exp(20.0))), rtol=1e-5)
    np.testing.assert_allclose(schedule.log_snr(tfg.CosineLogSNR()(schedule, 64)[63]), 20.0, rtol=1e-4)


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_a_step_of_algorithm_2(v):
    """DDPM(v) against the folded form of the paper's mean and variance, at both ends of -20..20, in float32."""
    schedule, grid = tfg.VPTruncatedCosine(), tfg.CosineLogSNR()
    times = grid(schedule, 64)
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 3, 1)).astype(np.float32)
    model = tfg.from_fn(_constant, None, schedule, prediction="eps", shape=(1,))
    for k in (0, 1, 31, 62):
        sampler = tfg.DDPM(steps=1, v=v, grid=tfg.Explicit(times[k : k + 2]))
        tape = tfg.NoiseTape(jnp.zeros((3, 1)), step=jnp.asarray(z)[:, None, None])
        got = tfg.sample(jax.random.key(0), model, start=(jnp.asarray(x), times[k]), noise=tape, sampler=sampler).x
        with jax.enable_x64(True):
            l, l_next = (float(schedule.log_snr(jnp.float64(t))) for t in times[k : k + 2])  # noqa: E741
        alpha, alpha_next = (np.sqrt(1.0 / (1.0 + np.exp(-value))) for value in (l, l_next))
        sigma2, sigma2_next = 1.0 / (1.0 + np.exp(l)), 1.0 / (1.0 + np.exp(l_next))
        gain = -np.expm1(l - l_next)
        mean = alpha_next / alpha * (x - gain * np.sqrt(sigma2) * 0.7)
        variance = (gain * sigma2_next) ** (1.0 - v) * (gain * sigma2) ** v
        # Rounding of x - sigma eps is multiplied by alpha_next / alpha in either form.
        np.testing.assert_allclose(got, mean + np.sqrt(variance) * z, rtol=2e-4, atol=2e-6 * alpha_next / alpha)


def _constant(params, x, t, cond):
    return jnp.full_like(x, 0.7)


def test_the_sampler_of_the_paper_returns_the_data_at_w_zero(x64):
    """N(m, s^2) comes back to discretization error, ends included; v makes no difference in the limit."""
    steps, m, s = 256, 0.7, 0.5
    data = tfg.analytic.gaussian([m], [[s**2]])
    basis = np.concatenate([np.zeros((1, steps + 1)), np.eye(steps + 1)])
    tape = tfg.NoiseTape(jnp.asarray(basis[:, :1]), step=jnp.asarray(basis[:, 1:].reshape(-1, steps, 1, 1)))
    widths = []
    for v in (0.0, 0.3):
        out = np.asarray(
            tfg.sample(
                jax.random.key(0),
                tfg.CFG(data.class_denoiser(tfg.VPTruncatedCosine()), 0.0),
                noise=tape,
                cond=jnp.zeros(steps + 2, jnp.int32),
                sampler=tfg.DDPM(steps=steps, v=v, grid=tfg.CosineLogSNR()),
            ).x  # fmt: skip
        )[:, 0]
        np.testing.assert_allclose(out[0], m, atol=2e-3)
        widths.append(np.sum((out[1:] - out[0]) ** 2))
    np.testing.assert_allclose(widths, s**2, rtol=0.035)  # 3 % at 256 steps


def test_training_draws_the_log_snr_distribution():
    """Algorithm 1: times of the distribution, labels dropped, noise predicted."""
    seen = {}

    def apply(params, x, t, label):
        seen.update(t=np.asarray(t), label=np.asarray(label))
        return jnp.zeros_like(x)

    distribution, schedule, n = tfg.CosineLogSNR(), tfg.VPTruncatedCosine(), 2000
    options = {"num_classes": 10, "network_time": unit_time, "p_uncond": 0.2}
    loss_fn = diffusion_loss(apply, schedule, "eps", time_distribution=distribution, **options)
    batch = {"image": np.ones((n, 2, 2, 1), np.float32), "label": np.zeros(n, np.int32)}
    loss, _ = loss_fn({}, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, 1.0, rtol=0.05)  # E |eps|^2
    log_snr = np.sort(np.asarray(schedule.log_snr(jnp.asarray(seen["t"]))))[::-1]
    quantiles = np.asarray(distribution.log_snr(jnp.linspace(0.1, 0.9, 9), -20.0))
    np.testing.assert_allclose(log_snr[(n * np.linspace(0.1, 0.9, 9)).astype(int)], quantiles, atol=0.01)
    assert 0.17 < np.mean(seen["label"] == 10) < 0.23
    assert distribution.times(tfg.VPCosine(), jnp.array([0.5, 1.0]))[1] == jnp.float32(
        0.999
    )  # no later than sampling starts
    with pytest.raises(ValueError, match="t_min=0.1 has no effect with a time_distribution"):
        diffusion_loss(apply, schedule, "eps", time_distribution=distribution, t_min=0.1, **options)


def test_grid_and_schedule_go_through_json():
    sampler = tfg.DDPM(steps=4, grid=tfg.CosineLogSNR(log_snr_min=None))
    assert tfg.from_json(tfg.to_json(sampler)) == sampler
    assert tfg.from_json(tfg.to_json(tfg.VPTruncatedCosine(-15.0))) == tfg.VPTruncatedCosine(-15.0)
