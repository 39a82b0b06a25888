"""Objectives: values, gradients, input ranges, composition, and what they refuse."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import objectives, struct

W = np.array([[1.0, -2.0, 0.5], [0.3, 0.8, -1.0]], np.float32)
X = jnp.array([0.2, -0.6, 0.9])


def linear(params, x):
    return jnp.asarray(params) @ x


def see(params, x):
    return x


def noisy_linear(params, x, log_snr):
    return jnp.asarray(params) @ x + log_snr


def first_two(x):
    return x[:2]


def double(x):
    return 2.0 * x


CLASSIFIER = objectives.Classifier(W, linear, num_classes=2, features_of=see, name="toy")
NOISY = objectives.NoisyClassifier(W, noisy_linear, num_classes=2)


def log_softmax(u):
    return u - np.log(np.exp(u).sum())


def test_dps_by_value_needs_one_sign():
    """A linear gap is known to cross 0, also inside compositions; of a plain function nothing is known."""
    gap, plain = tfg.objectives.linear(), tfg.objectives.from_fn(lambda params, x0, target: jnp.sum(x0))
    model = tfg.from_fn(lambda p, x, t, c: x, None, tfg.VPLinear(), prediction="eps", shape=(2,))
    target = (jnp.ones((1, 2)), jnp.zeros(1))
    for objective, asked in (
        (gap, target), (tfg.objectives.weighted(gap, 2.0), target), (tfg.objectives.total(plain, gap), (None, target)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match='normalize="value" divides by the objective, and .* crosses 0'):
            tfg.sample(jax.random.key(0), model, objective=objective, target=asked, guidance=tfg.DPS(), num_samples=1)
    assert not getattr(tfg.objectives.total(plain), "crosses_zero", True)


def test_class_log_prob():
    objective = tfg.objectives.class_log_prob(CLASSIFIER)
    assert not objective.noisy
    np.testing.assert_allclose(objective(X, jnp.asarray(1)), log_softmax(W @ X)[1], rtol=1e-6)
    np.testing.assert_allclose(sum(np.exp(objective(X, jnp.asarray(k))) for k in range(2)), 1.0, rtol=1e-6)
    p = np.exp(log_softmax(W @ X))
    np.testing.assert_allclose(jax.grad(objective)(X, jnp.asarray(0)), W[0] - p @ W, rtol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-2.1, 2.6)])
def test_samples_are_mapped_to_the_classifiers_range(low, high):
    network = objectives.Classifier(np.eye(3, dtype=np.float32), linear, 3, input_range=(low, high), features_of=see)
    ends = network(jnp.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(ends, [low, (low + high) / 2, high], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(network.features(jnp.array([-1.0, 0.0, 1.0])), ends)
    # The gradient is one of the sample in [-1, 1].
    gradient = jax.grad(lambda x: network(x)[0])(X)
    np.testing.assert_allclose(gradient, [(high - low) / 2, 0.0, 0.0], rtol=1e-6)


def test_features_must_exist():
    with pytest.raises(ValueError, match="classifier 'bare' has no features; give features_of"):
        objectives.Classifier(W, linear, 2, name="bare").features(X)


def test_noisy_classifiers_see_vp_coordinates_and_log_snr():
    objective = objectives.noisy_class_log_prob(NOISY)
    assert objective.noisy
    for schedule in (tfg.VPLinear(), tfg.EDM()):
        level = schedule.level(0.3)
        expected = log_softmax(W @ (X / np.hypot(level.alpha, level.sigma)) + float(level.log_snr))[1]
        np.testing.assert_allclose(objective(X, jnp.asarray(1), level), expected, rtol=1e-5)


def test_the_wrong_kind_of_classifier():
    with pytest.raises(ValueError, match="reads noisy samples; use noisy_class_log_prob"):
        inspect.unwrap(objectives.class_log_prob)(NOISY)
    with pytest.raises(ValueError, match="classifier 'toy' reads clean samples; use class_log_prob"):
        inspect.unwrap(objectives.noisy_class_log_prob)(CLASSIFIER)


def test_measurements():
    y = jnp.array([1.0, 0.4])
    gaussian = objectives.gaussian_log_likelihood(first_two, 0.5)
    norm = objectives.residual_norm(first_two)
    residual = np.asarray(y - X[:2])
    np.testing.assert_allclose(gaussian(X, y), -(residual**2).sum() / (2 * 0.25), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(gaussian)(X, y), np.append(residual / 0.25, 0.0), rtol=1e-5)
    np.testing.assert_allclose(norm(X, y), -np.linalg.norm(residual), rtol=1e-6)
    np.testing.assert_allclose(gaussian.residual_norm(X, y), np.linalg.norm(residual), rtol=1e-6)
    # A perfect fit has a gradient of 0, not NaN.
    np.testing.assert_array_equal(jax.grad(norm)(X, X[:2]), np.zeros(3))


def total_of(x0, cond):
    """As a network of properties of the first ``cond`` entries."""
    return jnp.where(jnp.arange(3) < cond, x0, 0.0).sum(keepdims=True)


def test_operators_of_the_condition():
    """One with a parameter ``cond`` is given it, by the objective and by every method that asks for its residual."""
    gaussian, norm = objectives.gaussian_log_likelihood(total_of, 0.5), objectives.residual_norm(total_of)
    y, both = jnp.array([1.0]), jnp.array([[1.0], [1.0]])
    assert gaussian.uses_cond and norm.uses_cond and not objectives.residual_norm(first_two).uses_cond
    for cond, seen in ((2, -0.4), (3, 0.5)):
        np.testing.assert_allclose(gaussian(X, y, cond=cond), -((1.0 - seen) ** 2) / (2 * 0.25), rtol=1e-5)
        np.testing.assert_allclose(norm(X, y, cond=cond), seen - 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match=r"target has a leaf of shape \(3, 1\), num_samples=2 needs"):
        gaussian.check(jnp.ones((3, 1)), 2, (3,))
    model = tfg.from_fn(lambda p, x, t, c: 0.5 * x, None, tfg.VPLinear(), prediction="eps", shape=(3,), num_classes=4)
    run = {"cond": jnp.array([1, 3]), "sampler": tfg.DDIM(steps=2)}
    for objective, guidance in (
        (gaussian, tfg.PiGDM()), (gaussian, tfg.DPS(0.3, normalize="residual")), (norm, tfg.DPS(0.3)),
    ):  # fmt: skip
        # The operator sees nothing of what lies behind the condition, so no gradient is there.
        out = tfg.sample(jax.random.key(0), model, objective=objective, target=both, guidance=guidance, **run)
        free = tfg.sample(jax.random.key(0), model, **run)
        moved = np.abs(out.x - free.x)
        assert out.status.ok.all() and (moved[0, 1:] < 1e-5).all() and moved[0, 0] > 1e-3 and (moved[1] > 1e-3).all()


def test_sums_weights_and_decoders():
    by_class, norm = objectives.class_log_prob(CLASSIFIER), objectives.residual_norm(first_two)
    y, k = jnp.array([1.0, 0.4]), jnp.asarray(1)
    both = objectives.total(objectives.weighted(by_class, 2.0), norm)
    np.testing.assert_allclose(both(X, (k, y)), 2.0 * by_class(X, k) + norm(X, y), rtol=1e-6)
    both.check((jnp.array([0, 1]), jnp.ones((2, 2))), 2, (3,))
    decoded = objectives.through(double, by_class)
    np.testing.assert_allclose(decoded(X, k), by_class(2.0 * X, k), rtol=1e-6)
    decoded.check(jnp.array([0, 1]), 2, (3,))
    noisy = objectives.total(objectives.noisy_class_log_prob(NOISY))
    assert noisy.noisy and objectives.weighted(noisy, 1.0).noisy and not both.noisy
    level = tfg.VPLinear().level(0.5)
    np.testing.assert_allclose(noisy(X, (k,), level), objectives.noisy_class_log_prob(NOISY)(X, k, level), rtol=1e-6)


def test_weights_decoders_and_operators_are_leaves():
    """Changing their numbers compiles nothing new: same structure, other leaves."""

    @struct.dataclass
    class Scale:
        by: float

        def __call__(self, x):
            return self.by * x

    build = lambda s: objectives.through(  # noqa: E731
        Scale(s), objectives.total(objectives.weighted(objectives.gaussian_log_likelihood(Scale(2 * s), s), s))
    )
    a, b = build(1.0), build(3.0)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert jax.tree.leaves(a) == [1.0, 2.0, 1.0, 1.0]


def test_objectives_from_functions():
    plain = objectives.from_fn(lambda params, x, target: params * jnp.sum(x * target), 3.0)
    np.testing.assert_allclose(plain(X, X), 3.0 * np.sum(np.square(X)), rtol=1e-6)
    assert jax.tree.leaves(plain) == [3.0] and not plain.noisy
    plain.check({"a": jnp.ones((2, 3))}, 2, (3,))
    with pytest.raises(ValueError, match=r"target has a leaf of shape \(3,\), num_samples=2 needs \(2, ...\)"):
        plain.check({"a": jnp.ones(3)}, 2, (3,))
    with pytest.raises(ValueError, match=r"target has a leaf of shape \(\)"):
        plain.check(1.0, 2, (3,))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (jnp.array([0, 2]), "target holds class 2, outside 0..1; the network has 2 classes"),
        (jnp.array([-1, 0]), "target holds class -1, outside 0..1"),
        (np.array([0, 7]), "target holds class 7"),
        (jnp.array([0, 1, 0]), r"target must be \(2,\) integer classes, got shape \(3,\)"),
        (jnp.array([0.0, 1.0]), "target must be .* integer classes, got shape .* dtype float32"),
        ([0, 1], "target must be .* integer classes, got shape None"),
        (None, "target must be .* integer classes, got shape None"),
        (jnp.array([[0], [1]]), r"got shape \(2, 1\)"),
    ],
)
def test_bad_class_targets(target, message):
    with pytest.raises(ValueError, match=message):
        objectives.class_log_prob(CLASSIFIER).check(target, 2, (3,))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (jnp.ones((2, 3)), r"target must be float measurements of shape \(2, 2\), got shape \(2, 3\)"),
        (jnp.ones((2, 2), int), "got shape .* and dtype int32; give operator"),
        (jnp.ones(2), r"got shape \(2,\)"),
        (None, "got shape None"),
        (jnp.array([[1.0, jnp.nan], [0.0, 0.0]]), "target holds NaN or infinity; give finite measurements"),
    ],
)
def test_bad_measurements(target, message):
    for objective in (objectives.residual_norm(first_two), objectives.gaussian_log_likelihood(first_two, 0.1)):
        with pytest.raises(ValueError, match=message):
            objective.check(target, 2, (3,))


def test_bad_compositions():
    by_class, noisy = objectives.class_log_prob(CLASSIFIER), objectives.noisy_class_log_prob(NOISY)
    for call, message in (
        (lambda: objectives.total(), "total.. needs at least one objective"),
        (lambda: objectives.total(by_class, noisy), "clean and of noisy samples; sum one kind only"),
        (lambda: objectives.through(double, noisy), "through.. decodes clean samples"),
        (lambda: objectives.weighted(by_class, float("nan")), "weight=nan must be a finite number"),
        (lambda: objectives.gaussian_log_likelihood(first_two, 0.0), "noise_std=0.* must be a finite number > 0"),
        (lambda: objectives.total(by_class, by_class).check((jnp.array([0]),), 1, (3,)), "tuple of 2 targets"),
        (lambda: objectives.total(by_class).check((jnp.array([5]),), 1, (3,)), "target holds class 5"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
