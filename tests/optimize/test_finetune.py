"""Fine-tuning between rounds: the released form is one Adam step, the weighted form draws by its weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tfg_jax as tfg
from tfg_jax import optimize
from tfg_jax.optimize import finetune

D, BATCH = 3, 4
KEY = jax.random.key(2)


def _network(params, x, t, cond):
    shift = 0.0 if cond is None else params["class"][cond]
    return params["w"] @ x + t * params["b"] + shift


def model(schedule=None, prediction: Any = "eps", **options) -> Any:
    rng = np.random.default_rng(1)
    params = {"w": rng.standard_normal((D, D)), "b": rng.standard_normal(D), "class": rng.standard_normal((2, D))}
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    schedule = schedule or tfg.from_alphas_cumprod(tfg.cosine_table(10))
    return tfg.from_fn(_network, params, schedule, prediction=prediction, shape=(D,), **options)


def batch(seed=0, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), (BATCH, D))


def one(tune, number=1, given=None, z=None, cond=None, state=None):
    given = given or model()
    state = tune.init(given, BATCH, jnp.float32) if state is None else state
    return tune.update(KEY, number, given, state, batch() if z is None else z, cond)


def test_the_default_is_one_adam_step_on_the_current_batch():
    given, z = model(), batch()
    tuned, (moments, past) = one(optimize.FineTune(learning_rate=1e-2), given=given, z=z)
    error = lambda params, key: finetune._eps_error(key, given.replace(params=params), z, None, 1e-3)  # noqa: E731
    noise = jax.random.split(jax.random.split(KEY, 1)[0])[1]
    gradient = jax.grad(error)(given.params, noise)
    adam = optax.adam(1e-2, b1=0.9, b2=0.99)
    updates, _ = adam.update(gradient, adam.init(given.params))
    expected = optax.apply_updates(given.params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tuned.params, expected)
    np.testing.assert_array_equal(past[0], z)
    plain = one(optimize.FineTune())[0]  # the published learning rate
    step = max(
        float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (plain.params, given.params)), strict=True)
    )
    assert 0.5e-6 < step < 1.5e-6


def test_the_loss_is_the_noise_error_at_the_nodes_of_a_table():
    given, z = model(), batch()
    times, noise = jax.random.split(KEY)
    t = finetune._times(times, given.schedule, BATCH, 1e-3)
    np.testing.assert_allclose(t * 10, np.round(t * 10), atol=1e-5)
    assert (t > 0).all() and (t <= 1).all()
    eps = jax.random.normal(noise, z.shape)
    level = given.schedule.level(t[:, None])
    x = level.alpha * z + level.sigma * eps
    raw = jax.vmap(lambda x, t: _network(given.params, x, t * 10 - 1, None))(x, t)
    expected = jnp.mean((raw - eps) ** 2)
    np.testing.assert_allclose(finetune._eps_error(KEY, given, z, None, 1e-3), expected, rtol=1e-5)
    other = model(tfg.VPCosine(), "v")
    t = finetune._times(times, other.schedule, 1000, 0.2)
    assert 0.2 <= t.min() < 0.21 and 0.98 < t.max() <= 0.999
    assert np.isfinite(finetune._eps_error(KEY, other, z, None, 1e-3))


def test_start_and_number_of_rounds():
    tune = optimize.FineTune(learning_rate=1e-2, start=3, rounds=2)
    given = model()
    changed = [not np.array_equal(one(tune, number, given)[0].params["w"], given.params["w"]) for number in range(1, 7)]
    assert changed == [False, False, True, True, False, False]


def test_several_steps_lower_the_error():
    given, z = model(), batch()
    tuned = one(optimize.FineTune(learning_rate=3e-2, steps=200), given=given, z=z)[0]
    before, after = (
        np.mean([finetune._eps_error(jax.random.key(i), m, z, None, 1e-3) for i in range(20)]) for m in (given, tuned)
    )
    assert after < 0.8 * before


def test_past_rounds_and_data_are_drawn_by_their_weights():
    memory = 3
    past = jnp.stack([jnp.full((200, 1), float(j)) for j in range(memory)])
    data = jnp.full((7, 1), 9.0)
    weights = jnp.array([4.0, 2.0, 1.0]) / 7.0 * 0.75
    found = [finetune._draw(jax.random.key(i), past, data, None, jnp.append(weights, 0.25))[0] for i in range(40)]
    values = np.concatenate(found).ravel()
    shares = [(values == v).mean() for v in (0.0, 1.0, 2.0, 9.0)]
    np.testing.assert_allclose(shares, [0.4286, 0.2143, 0.1071, 0.25], atol=0.02)
    never = finetune._draw(KEY, past, None, None, jnp.array([0.5, 0.5, 0.0, 0.0]))[0]
    assert set(np.unique(never)) == {0.0, 1.0}


def test_batches_not_yet_made_have_no_weight():
    """In round 1 there is one batch: with memory 3 the empty slots (zeros) must not be trained on."""
    tune = optimize.FineTune(learning_rate=1e-2, memory=3, decay=0.5)
    huge = batch(scale=1e3)
    _, (_, past) = one(tune, z=huge)
    assert (past[1:] == 0).all() and (past[0] == huge).all()
    weights = []
    real = finetune._steps

    def spy(*given, **options):
        weights.append(np.asarray(options["weights"]))
        return real(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "_steps", spy)
        given, state = one(tune, 1)
        one(tune, 2, given, state=state)
    np.testing.assert_allclose(weights[0], [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(weights[1], [2 / 3, 1 / 3, 0.0, 0.0], rtol=1e-6)


def test_pretraining_data_and_an_optimizer_of_ones_own():
    tune = optimize.FineTune(data=batch(5), data_weight=0.5, optimizer=optax.sgd(1e-2))
    tune.check(model(), None)
    assert not np.array_equal(one(tune)[0].params["w"], model().params["w"])
    with pytest.raises(ValueError, match="no conditions to go with cond"):
        tune.check(model(), jnp.zeros(BATCH, int))
    with pytest.raises(ValueError, match="learning_rate=0.1 has no effect with an optimizer"):
        optimize.FineTune(learning_rate=0.1, optimizer=optax.sgd(1e-2)).check(model(), None)


def test_conditions_go_with_their_samples():
    given = model(num_classes=2)
    tuned = one(optimize.FineTune(learning_rate=1e-2), given=given, cond=jnp.zeros(BATCH, jnp.int32))[0]
    moved = np.abs(tuned.params["class"] - given.params["class"]).max(axis=1)
    assert moved[0] > 1e-3 and moved[1] == 0.0


def test_the_network_inside_a_transform_is_found():
    from tfg_jax import struct

    @struct.dataclass
    class Around:
        model: object
        w: float = 1.0

    wrapped = Around(Around(model()))
    assert finetune.inner(wrapped) is wrapped.model.model  # type: ignore[attr-defined]
    other = finetune.with_params(wrapped, {"w": 1.0})
    assert finetune.params_of(other) == {"w": 1.0} and other.w == 1.0


def test_models_that_cannot_be_changed():
    bare = tfg.from_fn(lambda params, x, t, cond: x, None, tfg.VPLinear(), prediction="eps", shape=(D,))
    with pytest.raises(ValueError, match="no params to fine-tune"):
        optimize.FineTune().check(bare, None)
    with pytest.raises(ValueError, match="Recentre moves exact models only"):
        optimize.Recentre().check(model(), None)
