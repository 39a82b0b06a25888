"""Restoration metrics against their definitions, and posterior distances against distributions whose distance is
known."""

import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax import metrics, operators

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(-1, 1, size=(3, 14, 16, 2))


def test_psnr_is_the_mean_square_in_decibels():
    off = np.full(TRUTH.shape, 0.2) * np.array([1.0, 0.1, 0.0])[:, None, None, None]
    np.testing.assert_allclose(metrics.psnr(TRUTH + off, TRUTH), [20.0, 40.0, 100.0], atol=1e-9)
    broken = TRUTH.copy()
    broken[1, 0, 0, 0] = np.inf
    found = metrics.psnr(broken, TRUTH)
    assert np.isnan(found[1]) and found[0] == 100.0


def slow_ssim(x, y, window, std=1.5):
    """The definition, window by window."""
    line = np.exp(-0.5 * ((np.arange(window) - window // 2) / std) ** 2)
    w = np.outer(line, line) / line.sum() ** 2
    values = []
    for i in range(x.shape[0] - window + 1):
        for j in range(x.shape[1] - window + 1):
            for c in range(x.shape[2]):
                a, b = (v[i : i + window, j : j + window, c] for v in (x, y))
                ma, mb = (w * a).sum(), (w * b).sum()
                va, vb, cov = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
                c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
                values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(values)


@pytest.mark.parametrize(("side", "window"), [(14, 11), (11, 11), (8, 7), (1, 1)])
def test_ssim_is_its_definition_also_on_small_images(side, window):
    truth = TRUTH[:, :side, :side]
    x = truth + 0.3 * RNG.normal(size=truth.shape)
    np.testing.assert_allclose(metrics.ssim(x, truth)[1], slow_ssim(x[1], truth[1], window), rtol=1e-9)
    np.testing.assert_allclose(metrics.ssim(truth, truth), 1.0, rtol=1e-12)


def test_the_residual_of_the_truth_is_the_noise_and_hidden_pixels_do_not_count():
    operator = operators.box_inpainting((14, 16, 2), 6)
    noise = 0.1 * RNG.normal(size=TRUTH.shape)
    y = np.asarray(operator.mask) * (TRUTH + noise)
    seen = np.asarray(operator.mask) > 0
    found = metrics.measurement_residual(operator, TRUTH, y)
    np.testing.assert_allclose(found, np.sqrt((noise[:, seen] ** 2).mean(axis=1)), rtol=1e-4)
    plain = metrics.measurement_residual(lambda x: 2.0 * x, TRUTH, 2.0 * TRUTH + 1.0)
    np.testing.assert_allclose(plain, 1.0, rtol=1e-5)


def test_feature_distance_is_euclidean():
    a = RNG.normal(size=(4, 5))
    np.testing.assert_allclose(metrics.feature_distance(a, a + 2.0), 2.0 * np.sqrt(5.0))


def two_layers(x):
    return x * jnp.array([3.0, 1.0]), jnp.abs(x[::2, ::2]) + 0.1


def test_lpips_with_given_layers_and_weights():
    """Against the formula in numpy; directions count, not lengths."""
    weights = [np.array([0.5, 2.0]), np.array([1.0, 0.0])]
    x = RNG.uniform(-1, 1, size=TRUTH.shape)
    expected = np.zeros(3)
    for layer, weight in zip(range(2), weights, strict=True):
        a, b = (np.asarray([two_layers(jnp.asarray(i))[layer] for i in v]) for v in (x, TRUTH))
        a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
        expected += (weight * (a - b) ** 2).sum(-1).mean(axis=(1, 2))
    np.testing.assert_allclose(metrics.lpips(two_layers, weights, x, TRUTH), expected, rtol=1e-4)
    np.testing.assert_allclose(metrics.lpips(two_layers, weights, TRUTH, TRUTH), 0.0, atol=1e-6)
    with pytest.raises(ValueError, match=r"weights must have one vector a layer, of sizes \[2, 2\]"):
        metrics.lpips(two_layers, weights[:1], x, TRUTH)


def test_posterior_spread_is_the_standard_deviation_over_draws():
    draws = RNG.normal(size=(2, 500, 6, 6, 1)) * np.array([0.5, 0.1])[:, None, None, None, None]
    np.testing.assert_allclose(metrics.posterior_spread(draws), [0.5, 0.1], rtol=0.02)
    np.testing.assert_allclose(metrics.spread_map(draws), draws.std(axis=1, ddof=1))
    with pytest.raises(ValueError, match="m >= 2 draws"):
        metrics.posterior_spread(draws[:, :1])


def test_sliced_wasserstein_of_a_shift():
    """W2 of a shift by v along u is |u . v|, and its square has mean |v|^2 / D over directions."""
    x = RNG.normal(size=(400, 3))
    shift = np.array([1.0, -2.0, 0.5])
    found = metrics.sliced_wasserstein(x + shift, x, projections=4000, resamples=2)
    assert found.value == pytest.approx(np.linalg.norm(shift) / np.sqrt(3.0), rel=0.03)
    assert metrics.sliced_wasserstein(x, x, resamples=2).value == 0.0
    # repeating every sample changes no distribution: sets of different sizes compare
    assert metrics.sliced_wasserstein(np.repeat(x, 2, axis=0), x, resamples=2).value == pytest.approx(0.0, abs=1e-12)
    same, other = RNG.normal(size=(300, 3)), 0.5 * RNG.normal(size=(300, 3))
    near, far = metrics.sliced_wasserstein(same, x), metrics.sliced_wasserstein(other, x)
    assert near.high < far.low and far.low < far.value < far.high
    assert metrics.sliced_wasserstein(same, x) == near


def test_mmd_is_zero_for_one_distribution_and_known_for_two_gaussians():
    """E k between N(0, I) and N(v, I) is (s^2 / (s^2 + 2))^(D/2) exp(-|v|^2 / (2 (s^2 + 2)))."""
    x, y, v, scale = RNG.normal(size=(600, 2)), RNG.normal(size=(600, 2)), np.array([1.0, 0.5]), 1.3
    exact = 2.0 * scale**2 / (scale**2 + 2.0) * (1.0 - np.exp(-v @ v / (2.0 * (scale**2 + 2.0))))
    far = metrics.mmd(x + v, y, scale=scale)
    assert far.low < exact < far.high or far.value == pytest.approx(exact, rel=0.15)
    near = metrics.mmd(x, y)
    assert near.low < 0.0 < near.high and near.high < far.low
    assert metrics.mmd(x, y) == near


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.psnr(TRUTH, TRUTH[:2]), "x and truth must have one shape"),
        (lambda: metrics.ssim(TRUTH[..., 0], TRUTH[..., 0]), r"x must be images \(n, H, W, C\)"),
        (lambda: metrics.measurement_residual(lambda x: x, TRUTH, TRUTH[:2]), "one measurement a sample"),
        (lambda: metrics.measurement_residual(lambda x: x, TRUTH, TRUTH[:, :3]), "y must have shape"),
        (lambda: metrics.sliced_wasserstein(np.ones((3, 2)), np.ones((3, 4))), r"must be \(n, D\) and \(m, D\)"),
        (lambda: metrics.mmd(np.full((3, 2), np.nan), np.ones((3, 2))), "must be finite"),
        (lambda: metrics.mmd(np.ones((1, 2)), np.ones((3, 2))), "at least 2 samples"),
        (lambda: metrics.mmd(np.ones((3, 2)), np.ones((3, 2))), "scale must be > 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
