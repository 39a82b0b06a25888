"""Precision and recall against constructions whose answer is known."""

import numpy as np
import pytest

from tfg_jax import metrics

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(300, 4))


def test_the_same_set_is_all_inside():
    precision, recall = metrics.precision_recall(REAL, REAL)
    assert precision.value == recall.value == 1.0 and precision.n == 300


def test_far_away_is_outside():
    precision, recall = metrics.precision_recall(REAL + 100.0, REAL)
    assert precision.value == recall.value == 0.0


def test_half_of_the_modes_costs_recall_and_half_garbage_costs_precision():
    two_modes = np.concatenate([REAL, REAL + 50.0])
    one = RNG.normal(size=(600, 4)) * 0.5
    precision, recall = metrics.precision_recall(one, two_modes)
    assert precision.value > 0.95 and recall.value <= 0.5
    garbage = np.concatenate([REAL, RNG.normal(size=(300, 4)) + 1e3])
    precision, recall = metrics.precision_recall(garbage, REAL)
    assert precision.value == 0.5 and recall.value == 1.0


def test_against_the_definition():
    a, b, k = RNG.normal(size=(20, 3)), RNG.normal(size=(25, 3)) + 0.5, 2

    def inside(points, others):
        radius = [np.sort(np.linalg.norm(others - o, axis=1))[k] for o in others]
        return np.mean([any(np.linalg.norm(p - o) <= r for o, r in zip(others, radius, strict=True)) for p in points])

    precision, recall = metrics.precision_recall(a, b, k)
    assert precision.value == inside(a, b) and recall.value == inside(b, a)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="features must be finite"):
        metrics.precision_recall(REAL[:3], REAL)
    with pytest.raises(ValueError, match="real must be finite"):
        metrics.precision_recall(REAL, np.full((9, 4), np.nan))
    with pytest.raises(ValueError, match="features has 3 entries"):
        metrics.precision_recall(REAL[:, :3], REAL)
    with pytest.raises(ValueError, match="k=0"):
        metrics.precision_recall(REAL, REAL, 0)
