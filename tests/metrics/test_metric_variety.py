"""Diversity and texture against cases solved by hand."""

import numpy as np
import pytest

from tfg_jax import metrics
from tfg_jax.data.sample import load_sample

BIG = 1e3


def test_inception_score_of_uniform_one_hot_is_the_number_of_classes():
    found = metrics.inception_score(BIG * np.tile(np.eye(7), (5, 1)), resamples=20)
    np.testing.assert_allclose(found.value, 7.0, rtol=1e-12)


def test_inception_score_is_one_without_diversity_or_without_confidence():
    assert metrics.inception_score(BIG * np.eye(7)[[3] * 9], resamples=5).value == 1.0
    np.testing.assert_allclose(metrics.inception_score(np.zeros((9, 7)), resamples=5).value, 1.0, rtol=1e-12)


def test_inception_score_by_hand():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    q = p.mean(0)
    np.testing.assert_allclose(
        metrics.inception_score(np.log(p), resamples=5).value, np.exp((p * np.log(p / q)).sum() / 2)
    )


def test_distance_is_to_the_other_members():
    features, labels = np.random.default_rng(0).normal(size=(7, 3)), np.array([0, 0, 0, 1, 1, 1, 2])
    found = metrics.distance_to_class(features, labels)
    np.testing.assert_allclose(found[1], np.linalg.norm(features[1] - features[[0, 2]].mean(0)))
    assert np.isnan(found[6]) and metrics.intra_class_spread(features, labels).n == 6


def test_collapsed_classes_have_no_spread():
    labels = np.repeat([0, 1], 5)
    assert metrics.intra_class_spread(np.eye(2)[labels] * 10, labels).value == 0.0


def wave(frequency, size=16):
    return np.broadcast_to(np.cos(2 * np.pi * frequency * np.arange(size))[:, None, None], (1, size, size, 1))


def test_power_above_half_nyquist_only():
    assert metrics.high_frequency_power(wave(2 / 16))[0] < 1e-25
    np.testing.assert_allclose(metrics.high_frequency_power(wave(6 / 16))[0], 0.5, rtol=1e-12)
    checkerboard = np.indices((8, 8)).sum(0)[None, :, :, None] % 2 * 2.0 - 1
    np.testing.assert_allclose(metrics.high_frequency_power(checkerboard), [1.0], rtol=1e-12)


def test_ratio_is_one_for_real_and_scales_with_power():
    noise = np.random.default_rng(1).normal(size=(40, 16, 16, 3))
    assert metrics.high_frequency_ratio(noise, noise).value == pytest.approx(1.0)
    assert metrics.high_frequency_ratio(2 * noise, noise).value == pytest.approx(4.0)
    fresh = metrics.high_frequency_ratio(np.random.default_rng(2).normal(size=(40, 16, 16, 3)), noise)
    assert fresh.low < fresh.value < fresh.high and abs(fresh.value - 1) < 0.03


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="reference"):
        metrics.high_frequency_ratio(wave(0.25), np.zeros((1, 16, 16, 1)))
    with pytest.raises(ValueError, match="logits"):
        metrics.inception_score(np.array([[np.nan, 0.0]]))


def test_noise_is_far_from_real_garments_and_other_garments_are_not():
    real, _ = load_sample()
    held, rest = (real[np.isin(np.arange(100) % 10, list(part))] for part in ((0, 1), range(2, 10)))  # of every class
    noise = np.random.default_rng(0).uniform(-1, 1, held.shape).astype(np.float32)
    patch = np.full_like(held, -1)
    patch[:, 8:20, 4:24] = noise[:, 8:20, 4:24]
    own = metrics.patch_distance(rest)
    for made in (noise, patch, np.where(held > -0.9, noise, -1)):
        found = metrics.unlike_real(metrics.patch_distance(made, rest), own)
        assert found.value >= 0.95 and found.n == 20
    found = metrics.unlike_real(metrics.patch_distance(held, rest), own)
    assert found.value <= 0.15 and found.low < 0.05


@pytest.mark.parametrize("channels, stride", [(1, 2), (3, 1)])
def test_patch_distance_is_the_nearest_patch_among_all(channels, stride):
    rng = np.random.default_rng(3)
    x, real = (rng.normal(size=(n, 6, 7, channels)) for n in (2, 3))

    def patches(image):
        return [image[i : i + 3, j : j + 3] for i in range(0, 4, stride) for j in range(0, 5, stride)]

    def direct(image, others):
        near = [min(np.sqrt(((p - q) ** 2).mean()) for o in others for q in patches(o)) for p in patches(image)]
        return np.mean(near)

    found = metrics.patch_distance(x, real, size=3, stride=stride)
    np.testing.assert_allclose(found, [direct(image, real) for image in x], rtol=1e-5)
    among = [direct(real[i], np.delete(real, i, axis=0)) for i in range(3)]
    np.testing.assert_allclose(metrics.patch_distance(real, size=3, stride=stride), among, rtol=1e-5)
    np.testing.assert_allclose(metrics.patch_distance(real[:1], real, size=3, stride=stride), 0, atol=1e-3)
    np.testing.assert_allclose(metrics.beyond_real(np.array([0.5, 1.5, 9.0]), np.array([1.0, 2.0])), [0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda x: metrics.patch_distance(x[:, :4]), "images"),
        (lambda x: metrics.patch_distance(x[:1]), "images must be at least 2"),
        (lambda x: metrics.patch_distance(x, x[:, :7]), "images of .* and real"),
        (lambda x: metrics.patch_distance(x, x * np.nan), "real"),
        (lambda x: metrics.patch_distance(x, stride=0), "stride=0"),
    ],
)
def test_patches_that_cannot_be_compared_are_refused(call, names):
    with pytest.raises(ValueError, match=names):
        call(np.zeros((2, 8, 8, 1)))
