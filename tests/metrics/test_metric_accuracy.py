"""Accuracy, batching and the guard against scoring with the guide."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from tfg_jax import metrics


@struct.dataclass
class Linear:
    params: jax.Array
    name: str = struct.field(pytree_node=False, default="classifier")

    def features(self, x):
        return x.ravel()[:3]

    def __call__(self, x):
        return self.params @ x.ravel()


def linear(seed=0, name="linear"):
    return Linear(jax.random.normal(jax.random.key(seed), (4, 6)), name)


@pytest.mark.parametrize("n, batch", [(5, 256), (8, 4), (9, 4), (1, 4), (3, 1)])
def test_classify_matches_one_by_one(n, batch):
    classifier, images = linear(), np.random.default_rng(0).normal(size=(n, 2, 3, 1)).astype(np.float32)
    expected = np.stack([classifier(x) for x in images])
    np.testing.assert_allclose(metrics.classify(classifier, images, batch), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        metrics.classify(lambda x: classifier(x), jnp.asarray(images), batch), expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(metrics.features(classifier, images, batch), images.reshape(n, -1)[:, :3])


def test_padding_and_new_weights_do_not_trace_again():
    traces = []

    @struct.dataclass
    class Counting(Linear):
        def __call__(self, x):
            traces.append(x.shape)
            return self.params @ x.ravel()

    images = np.zeros((11, 2, 3, 1), np.float32)
    for scale in (1.0, 2.0):
        metrics.classify(Counting(jnp.full((4, 6), scale)), images, batch=4)
    assert traces == [(2, 3, 1)]


def test_accuracy_counts_failures_as_misses():
    logits = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [np.nan, 0, 0], [0, np.inf, 0]])
    targets = np.array([0, 1, 0, 0, 1])
    np.testing.assert_array_equal(metrics.correct(logits, targets), [True, True, False, False, False])
    p = np.exp(2) / (np.exp(2) + 2)
    np.testing.assert_allclose(
        metrics.target_probability(logits, targets), [p, p, 1 / (np.exp(2) + 2), 0, 0], rtol=1e-12
    )
    assert metrics.accuracy(logits, targets) == metrics.wilson(2, 5)
    assert metrics.per_class_accuracy(logits, targets) == {0: metrics.wilson(1, 3), 1: metrics.wilson(1, 2)}
    np.testing.assert_allclose(metrics.mean_target_probability(logits, targets).value, (2 * p + (1 - p) / 2) / 5)


def test_large_logits_do_not_overflow():
    assert metrics.target_probability(np.array([[1e4, 0.0]]), np.array([0]))[0] == 1.0


@pytest.mark.parametrize("targets", [np.array([0, 4]), np.array([-1, 0])])
def test_bad_targets_are_named(targets):
    with pytest.raises(ValueError, match="targets"):
        metrics.accuracy(np.zeros((2, 4)), targets)


def test_other_errors_are_named():
    with pytest.raises(ValueError, match="batch"):
        metrics.classify(linear(), np.zeros((1, 2, 3, 1)), batch=0)
    with pytest.raises(ValueError, match="images"):
        metrics.classify(linear(), np.zeros((0, 2, 3, 1)))
    with pytest.raises(ValueError, match="features"):
        metrics.features(lambda x: x, np.zeros((1, 2, 3, 1)))


@pytest.mark.parametrize(
    "evaluator, reason",
    [(linear(0), "called 'linear'"), (linear(1), "called 'linear'"), (linear(0, "other"), "weights are identical")],
)
def test_scoring_with_the_guide_warns(evaluator, reason):
    with pytest.warns(UserWarning, match=reason):
        assert not metrics.check_independent(linear(), evaluator)


def test_independent_evaluators_are_silent():
    plain = lambda x: x  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.check_independent(linear(0), linear(1, "evaluator"))
        assert metrics.check_independent(linear(0, "classifier"), linear(1, "classifier"))  # the class's default
        assert metrics.check_independent(plain, lambda x: -x)
    with pytest.warns(UserWarning):
        assert not metrics.check_independent(plain, plain)
