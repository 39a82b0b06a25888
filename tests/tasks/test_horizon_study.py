"""The definition of the horizon study: its errors, floors and rows, on the exact answers of mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax.studies.horizon import gradients, mixtures, posterior
from tfg_jax.studies.horizon.images import study_images
from tfg_jax.studies.horizon.rows import image_rows
from tfg_jax.truncated import TruncatedSolve


def test_estimates_are_those_of_the_golden_point(x64):
    """Two Euler steps and one midpoint step at s = 0.3, x = -0.35, and the exact flow's derivative as a ratio of
    densities."""
    x, estimates = jnp.asarray([[-0.35]]), jax.jit(gradients.estimates)
    value, gradient = estimates(TruncatedSolve(0.0, 1, "euler"), x, jnp.asarray([0.5]))
    np.testing.assert_allclose([value[0, 0], gradient[0, 0]], [0.0021797289, 2.4383012721], atol=1e-9)
    value, gradient = estimates(TruncatedSolve.whole(1, "midpoint"), x, None)
    np.testing.assert_allclose([value[0, 0], gradient[0, 0]], [0.1715708734, 4.0619544387], atol=1e-9)


def test_states_know_where_the_flow_takes_them(x64):
    x, exact, gradient = gradients.states(4)
    data = gradients.line_mixture()
    now = data.noisy(gradients.RectifiedFlow().level(jnp.asarray(0.7)))
    density = lambda distribution, x: np.exp(np.asarray(jax.vmap(distribution.log_prob)(x)))  # noqa: E731
    np.testing.assert_allclose(gradient, density(now, x) / density(data, exact[:, None]), rtol=1e-6)


def test_a_wrong_sign_is_infinitely_wrong():
    found = gradients.errors(np.ones(4), np.array([1.0, 2.0, 2.0, -1.0]), np.zeros(4), np.ones(4))
    assert found["value"] == 1.0 and found["wrong_sign"] == 0.25
    assert found["gradient"] == pytest.approx(np.log(2.0)) and found["gradient_90"] == pytest.approx(np.log(2.0))
    assert gradients.errors(np.ones(2), -np.ones(2), np.ones(2), np.ones(2))["gradient"] == np.inf


def test_exact_samples_are_nearest_to_exact_samples():
    y = posterior.measurements(0, 2)
    exact, other = posterior.exact_samples(y, 0, 400), posterior.exact_samples(y, 1, 100)
    prior = np.stack([np.asarray(posterior.plane_mixture().sample(jax.random.key(2), 100))] * 2)
    near, far = (posterior.distances(x, exact) for x in (other, prior))
    assert np.mean(near["sliced_w2"]) < 0.5 * np.mean(far["sliced_w2"])
    assert np.mean(near["mmd"]) < 0.1 * np.mean(far["mmd"])
    lost = np.full_like(other, np.nan)
    assert posterior.distances(lost, exact)["sliced_w2"] == [np.inf, np.inf]


def test_every_tuned_method_has_the_same_number_of_trials():
    counts = {len(method.strengths) for method in posterior.methods().values()}
    assert counts == {1, 6}
    for problem in ("box", "label"):
        assert {len(row.trials) for row in image_rows(80, problem).values()} == {1, 4}


def test_rows_that_a_budget_does_not_change_are_in_one_column_alone():
    first, second = image_rows(80, "box"), image_rows(320, "box", first=False)
    assert set(first) - set(second) == {"unguided"} and "PiGDM" not in image_rows(80, "label")
    assert second["horizon 1"].sampler.steps > first["horizon 1"].sampler.steps  # type: ignore[union-attr]


def test_tuning_never_sees_a_reported_image():
    reported, tuned = study_images(False, 80), study_images(True, 20)
    assert not {image.tobytes() for image in reported} & {image.tobytes() for image in tuned}
    with pytest.raises(ValueError, match="trial-images=21 is more than the 20"):
        study_images(True, 21)


def test_mixtures_are_computed_once(tmp_path, monkeypatch):
    calls = []
    plan = {"gradients": lambda: calls.append(1) or [1.0], "adjoints": lambda: [{"gradient": np.inf}]}
    monkeypatch.setattr(mixtures, "line_rows", lambda quick: plan)
    monkeypatch.setattr(mixtures, "methods", dict)
    monkeypatch.setattr(mixtures, "posterior_numbers", lambda *_: {})
    compute = lambda: [row.name for row, _ in mixtures.mixtures_study(tmp_path).compute()]  # noqa: E731
    assert compute() == compute() == ["gradients", "adjoints", "posterior-exact-samples"]
    assert calls == [1] and mixtures.read_mixtures(tmp_path)["adjoints"]["report"]["found"] == [{"gradient": np.inf}]
    with pytest.raises(ValueError, match="holds mixtures of other sizes"):
        mixtures.mixtures_study(tmp_path, True)
