"""Intervals against published numbers, closed forms and their own coverage."""

import numpy as np
import pytest

from tfg_jax.metrics import Estimate, bootstrap, mean_ci, wilson


@pytest.mark.parametrize(
    "successes, n, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_newcombe_1998_table(successes, n, low, high):
    found = wilson(successes, n)
    assert found.value == successes / n and found.n == n
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=5e-5)


def test_wilson_is_the_root_of_the_score_equation_and_symmetric():
    found, mirror = wilson(7, 31, 0.9), wilson(24, 31, 0.9)
    for p in (found.low, found.high):
        np.testing.assert_allclose(abs(7 / 31 - p) / np.sqrt(p * (1 - p) / 31), 1.6448536269514722, rtol=1e-10)
    np.testing.assert_allclose([found.low, found.high], [1 - mirror.high, 1 - mirror.low], rtol=1e-12)


def test_wilson_ends_contain_the_value():
    for n in range(1, 60):
        assert wilson(0, n).low == 0.0 and wilson(n, n).high == 1.0
    assert np.isnan(wilson(0, 0).value) and (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def test_mean_interval_is_students():
    values = np.array([4.0, 5.0, 6.0, 7.0])  # t_3(0.975) = 3.182446
    found = mean_ci(values)
    half = 3.1824463052842624 * np.sqrt(5 / 3) / 2
    np.testing.assert_allclose([found.value, found.low, found.high], [5.5, 5.5 - half, 5.5 + half], rtol=1e-12)
    assert mean_ci(values[:1]).high == np.inf and np.isnan(mean_ci(values[:0]).value)


def test_mean_interval_covers_at_its_level():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    covered = np.mean([(e := mean_ci(row, 0.8)).low <= 0 <= e.high for row in draws])
    assert abs(covered - 0.8) < 0.03


def test_bootstrap_agrees_with_the_t_interval_and_repeats():
    values = np.random.default_rng(1).normal(size=400)
    found, again, other = (bootstrap(values, np.mean, seed) for seed in (3, 3, 4))
    exact = mean_ci(values)
    assert found == again != other
    np.testing.assert_allclose([found.low, found.high], [exact.low, exact.high], atol=0.02)


def test_centred_bootstrap_surrounds_a_biased_statistic():
    values = np.random.default_rng(2).integers(0, 1000, size=200)
    distinct = lambda v: float(len(np.unique(v)))  # noqa: E731
    plain, centred = (bootstrap(values, distinct, resamples=100, kind=kind) for kind in ("percentile", "centred"))
    assert plain.high < plain.value and centred.low < centred.value < centred.high
    np.testing.assert_allclose(centred.high - centred.low, plain.high - plain.low)


@pytest.mark.parametrize(
    "estimate, text",
    [
        (Estimate(0.871, 0.85, 0.89, 100), "0.871 [0.85, 0.89]"),
        (Estimate(35.23, 33.4, 37.1, 100), "35.2 [33, 37]"),
        (Estimate(1.0507, 0.584, 1.634, 95), "1.05 [0.6, 1.6]"),
        (Estimate(23.23, -np.inf, np.inf, 1), "23.23 (n = 1, no interval)"),
        (Estimate(0.5, 0.0, np.inf, 3), "0.5 (no interval)"),
        (wilson(0, 0), "–"),
        (mean_ci(np.zeros(0)), "–"),
        (bootstrap(np.array([0.834]), np.mean), "0.834 (n = 1, no interval)"),
        (Estimate(1.0, 0.96, 1.0, 90), "1.000 [0.96, 1.00]"),
    ],
)
def test_estimate_prints_the_digits_it_knows(estimate, text):
    assert str(estimate) == text


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda: wilson(5, 4), "successes"),
        (lambda: wilson(1, 4, level=95.0), "level"),
        (lambda: mean_ci(np.array([1.0, np.nan])), "values"),
        (lambda: bootstrap(np.zeros(0), np.mean), "values"),
    ],
)
def test_errors_name_the_argument(call, names):
    with pytest.raises(ValueError, match=names):
        call()
