"""Random numbers: one key per sample, stream, step and recurrence; tapes replay what keys draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.noise import KeyNoise, folded, root_key, sample_key

SHAPE, STEPS, N_RECUR, N_MC = (3,), 3, 2, 2


def eps(params, x, t, cond):
    return jnp.tanh(x) * t


def value(params, x0, target):
    return -jnp.sum((x0 - target) ** 2)


MODEL = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=SHAPE)
OBJECTIVE = tfg.objectives.from_fn(value)


def record(key, n):
    """All draws of ``n`` samples as `NoiseTape` lays them out, drawn one by one."""

    def one(index):
        source = KeyNoise(sample_key(key, index))
        at = lambda i, r: source.at(i, r, SHAPE, jnp.float32)  # noqa: E731
        grid = [[at(i, r) for r in range(N_RECUR)] for i in range(STEPS)]
        of = lambda read: jnp.stack([jnp.stack([read(draws) for draws in row]) for row in grid])  # noqa: E731
        return tfg.NoiseTape(
            initial=source.initial(SHAPE, jnp.float32), step=of(lambda d: d.step), renoise=of(lambda d: d.renoise),
            mc=of(lambda d: d.mc(N_MC)), churn=of(lambda d: d.churn),
        )  # fmt: skip

    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[one(index) for index in range(n)])


@pytest.fixture(scope="module")
def tape():
    return record(jax.random.key(4), 2)


def test_all_draws_are_distinct(tape):
    values = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tape)])
    assert values.size == 2 * 3 * (1 + STEPS * N_RECUR * (3 + N_MC))
    assert np.unique(values).size == values.size
    assert abs(values.mean()) < 0.3 and 0.7 < values.std() < 1.3


def test_a_draw_does_not_depend_on_the_others():
    """The same key gives the same draw, however many Monte-Carlo draws or other streams are asked for."""
    source = KeyNoise(sample_key(jax.random.key(4), 1))
    first = source.at(2, 1, SHAPE, jnp.float32).step
    again = source.at(jnp.asarray(2), jnp.asarray(1), SHAPE, jnp.float32)
    again.mc(5)
    np.testing.assert_array_equal(again.step, first)


@pytest.mark.parametrize(
    "sampler", [tfg.DDIM(steps=STEPS), tfg.DDPM(steps=STEPS, v=0.5), tfg.Euler(steps=STEPS, churn=tfg.Churn())]
)
def test_a_tape_of_the_keys_draws_replays_the_run(sampler, tape):
    given = {
        "num_samples": 2, "objective": OBJECTIVE, "target": jnp.ones((2, 3)), "sampler": sampler,
        "guidance": tfg.TFG(rho=0.1, mu=0.1, n_iter=2, smoothing=0.2, n_mc=N_MC, n_recur=N_RECUR),
    }  # fmt: skip
    drawn = tfg.sample(jax.random.key(4), MODEL, **given)
    replayed = tfg.sample(jax.random.key(99), MODEL, noise=tape, **given)
    np.testing.assert_allclose(replayed.x, drawn.x, rtol=1e-5, atol=1e-6)


def test_draws_that_a_run_does_not_use_may_be_missing(tape):
    ode = tfg.DDIM(steps=STEPS, eta=None)
    alone = tfg.sample(jax.random.key(0), MODEL, noise=tfg.NoiseTape(tape.initial), sampler=ode)
    assert alone.x.shape == (2, 3)
    with pytest.raises(ValueError, match="noise.step=None but the run draws it; record step"):
        tfg.sample(jax.random.key(0), MODEL, noise=tfg.NoiseTape(tape.initial), sampler=tfg.DDIM(steps=STEPS))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_keys_of_hardware_generators_draw_the_same_in_any_batch(impl):
    """A vmapped hardware generator draws for all samples at once: chunk and offset would decide a sample's noise."""
    key = jax.random.key(0, impl=impl)
    draw = lambda n, **options: tfg.sample(key, MODEL, num_samples=n, sampler=tfg.DDIM(2), **options).x  # noqa: E731
    whole = draw(4)
    np.testing.assert_allclose(draw(4, chunk=2), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(draw(2, index_offset=2), whole[2:], rtol=1e-5, atol=1e-6)
    images, keys = jnp.zeros((3, 2)), jax.random.split(key, 3)
    measure = lambda image, key: tfg.operators.measure(lambda x: x, image, 1.0, key)  # noqa: E731
    alone = [measure(image, key) for image, key in zip(images, keys, strict=True)]
    np.testing.assert_allclose(jax.vmap(measure)(images, keys), jnp.stack(alone), rtol=1e-6)
    assert np.abs(whole - tfg.sample(jax.random.key(0), MODEL, num_samples=4, sampler=tfg.DDIM(2)).x).max() > 0.1


def test_keys_of_both_kinds():
    legacy, typed = jax.random.PRNGKey(3), jax.random.key(3)
    assert jax.random.key_data(root_key(legacy)).tolist() == jax.random.key_data(root_key(typed)).tolist()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_folded_key_is_jaxs(impl):
    ours = theirs = jax.random.key(7, impl=impl)
    for data in (0, 1, 2**31 - 1, jnp.int32(-1), jnp.uint32(2**32 - 1)):
        ours, theirs = folded(ours, data), jax.random.fold_in(theirs, data)
        assert jnp.array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))
