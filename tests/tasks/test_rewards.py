"""Rewards of images: values and gradients by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax.objectives import Classifier
from tfg_jax.tasks.rewards import brightness, class_log_odds

CLASSIFIER = Classifier(jnp.eye(3), lambda params, x: params @ x, num_classes=3)


def test_log_odds_do_not_saturate():
    x = jnp.array([1.0, 2.0, -0.5])
    p = np.exp(x) / np.exp(x).sum()
    reward = class_log_odds(CLASSIFIER, 1)
    np.testing.assert_allclose(reward(x, None), np.log(p[1] / (1 - p[1])), rtol=1e-6)
    far = jax.grad(reward)(jnp.array([0.0, 80.0, 0.0]), None)
    np.testing.assert_allclose(far, [-0.5, 1.0, -0.5], rtol=1e-6)
    with pytest.raises(ValueError, match="wanted=3 is outside 0..2"):
        class_log_odds(CLASSIFIER, 3)


def test_brightness_is_the_mean_pixel():
    x = jnp.linspace(-1.0, 0.5, 12).reshape(2, 6, 1)
    np.testing.assert_allclose(brightness()(x, None), x.mean(), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(brightness())(x, None), 1 / 12, rtol=1e-6)
