"""Frechet distance against closed forms; moments that merge exactly."""

import numpy as np
import pytest

from tfg_jax.metrics import Moments, equal_size, frechet_distance, frechet_with_ci, moments


def rotation(rng, size):
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def gaussian(mean, cov):
    return Moments(np.asarray(mean, float), np.asarray(cov, float), 100)


def test_one_dimension_closed_form():
    a, b = gaussian([1.0], [[4.0]]), gaussian([3.0], [[0.25]])
    np.testing.assert_allclose(frechet_distance(a, b), (1 - 3) ** 2 + (2 - 0.5) ** 2, rtol=1e-14)


def test_commuting_covariances_closed_form():
    rng = np.random.default_rng(0)
    q, da, db = rotation(rng, 6), rng.uniform(0, 3, 6), rng.uniform(0, 3, 6)
    ma, mb = rng.normal(size=(2, 6))
    found = frechet_distance(gaussian(ma, q @ np.diag(da) @ q.T), gaussian(mb, q @ np.diag(db) @ q.T))
    np.testing.assert_allclose(found, np.sum((ma - mb) ** 2) + np.sum((np.sqrt(da) - np.sqrt(db)) ** 2), rtol=1e-12)


def test_two_dimensions_closed_form():
    # tr sqrt(A B) = sqrt(tr(A B) + 2 sqrt(det A det B)) for 2 x 2 matrices.
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    trace = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    found = frechet_distance(gaussian([0, 0], a), gaussian([0, 0], b))
    np.testing.assert_allclose(found, np.trace(a + b) - 2 * trace, rtol=1e-12)


def test_is_symmetric_and_invariant_to_rotation():
    rng = np.random.default_rng(1)
    x, y, q = rng.normal(size=(50, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), rotation(rng, 5)
    a, b = moments(x), moments(y)
    np.testing.assert_allclose(frechet_distance(a, b), frechet_distance(b, a), rtol=1e-12)
    np.testing.assert_allclose(frechet_distance(a, b), frechet_distance(moments(x @ q), moments(y @ q)), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 10, 40])
def test_zero_for_equal_sets_even_when_rank_deficient(n):
    x = np.random.default_rng(2).normal(size=(n, 64)) * 100
    assert frechet_distance(moments(x), moments(x)) < 1e-9


def test_rank_deficient_closed_form():
    # Orthogonal subspaces do not overlap: the distance is the sum of the traces.
    x = np.zeros((30, 20))
    y = x.copy()
    rng = np.random.default_rng(3)
    x[:, :3], y[:, 10:14] = rng.normal(size=(30, 3)), rng.normal(size=(30, 4))
    a, b = moments(x), moments(y)
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.cov) + np.trace(b.cov)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-14)


def test_merged_moments_are_those_of_the_whole():
    x = np.random.default_rng(4).normal(size=(101, 4)) + 1e6  # a large mean breaks naive sums of squares
    parts = [moments(part) for part in np.split(x, [1, 3, 50])]
    merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(merged.cov, np.cov(x.T), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(moments(x).cov, np.cov(x.T), rtol=1e-10, atol=1e-12)
    assert merged.n == 101


def test_interval_covers_the_mean_distance_at_this_n():
    rng = np.random.default_rng(5)
    reference = gaussian(np.zeros(3), np.eye(3))
    sets = rng.normal(size=(60, 80, 3)) + 0.5
    found = [frechet_with_ci(x, reference, resamples=60) for x in sets]
    centre = np.mean([e.value for e in found])
    assert np.mean([e.low <= centre <= e.high for e in found]) > 0.85
    assert found[0] == frechet_with_ci(sets[0], reference, resamples=60) and found[0].n == 80


def test_small_sets_are_biased_upwards():
    rng = np.random.default_rng(6)
    real = rng.normal(size=(4000, 8))
    small, large = (
        np.mean([frechet_distance(moments(rng.normal(size=(n, 8))), moments(real)) for _ in range(5)])
        for n in (20, 500)
    )
    assert small > 5 * large > 0


def test_equal_size_takes_distinct_rows():
    a, b = np.arange(10.0)[:, None], np.arange(4.0)[:, None]
    left, right = equal_size(a, b, seed=1)
    assert left.shape == right.shape == (4, 1) and len(np.unique(left)) == 4
    np.testing.assert_array_equal(right, b)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="features"):
        moments(np.array([[np.nan, 1.0]]))
    with pytest.raises(ValueError, match="same number"):
        frechet_distance(moments(np.zeros((3, 2))), moments(np.zeros((3, 4))))
    with pytest.raises(ValueError, match="two samples"):
        frechet_with_ci(np.zeros((1, 2)), moments(np.zeros((3, 2))))
