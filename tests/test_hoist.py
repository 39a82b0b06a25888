"""A scan that computes ahead what needs no carry: the same numbers, less in the loop."""

import jax
import jax.numpy as jnp
import numpy as np

from tfg_jax import hoist

W = jnp.arange(6.0).reshape(2, 3) / 7.0


def body(carry, at, own):
    index, t = at
    x, key = carry
    strength = jnp.where(t > 0.5, jnp.cos(t), jnp.sqrt(t)) * own["w"]
    z = jax.random.normal(jax.random.fold_in(own["key"], index), x.shape)
    turned = jnp.flip(W).astype(jnp.bfloat16).astype(jnp.float32)
    x = x + strength * jnp.tanh(turned.T @ turned @ x) + 0.1 * z
    return (x, key + 1), (x.sum(), strength)


def run(scan):
    at = (jnp.arange(4), jnp.linspace(0.9, 0.1, 4))

    def one(x, w, index):
        own = {"w": w, "key": jax.random.fold_in(jax.random.key(0), index)}
        return scan(body, (x, jnp.zeros((), jnp.int32)), at, own)

    return jax.vmap(one)


def plain(body, init, xs, own):
    return jax.lax.scan(lambda carry, x: body(carry, x, own), init, xs)


ARGUMENTS = (jnp.ones((2, 3)), jnp.array([0.5, 2.0]), jnp.arange(2))


def test_the_numbers_are_those_of_a_scan_and_so_are_their_gradients():
    def total(scan):
        return jax.jit(jax.value_and_grad(lambda x, w: run(scan)(x, w, ARGUMENTS[2])[0][0].sum(), (0, 1)))

    ours, theirs = (total(scan)(*ARGUMENTS[:2]) for scan in (hoist.scan, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)
    ours, theirs = (jax.jit(run(scan))(*ARGUMENTS) for scan in (hoist.scan, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)


def inside(scan):
    """Names of what the loop's body does, of one sample."""
    own = {"w": 0.5, "key": jax.random.key(0)}
    at = (jnp.arange(4), jnp.linspace(0.9, 0.1, 4))
    program = jax.make_jaxpr(lambda x: scan(body, (x, jnp.zeros((), jnp.int32)), at, own))(jnp.ones(3))
    (loop,) = [eqn for eqn in program.eqns if eqn.primitive.name == "scan"]
    return [eqn.primitive.name for eqn in loop.params["jaxpr"].eqns]


def test_only_what_needs_the_carry_or_is_a_samples_own_is_left_inside():
    before, after = inside(plain), inside(hoist.scan)
    assert {"cos", "sqrt", "convert_element_type"} <= set(before)
    assert not {"cos", "sqrt"} & set(after) and after.count("dot_general") == 1 < before.count("dot_general")
    assert "random_fold_in" in after  # steps times samples of keys would be held


def test_what_has_an_effect_or_asks_who_maps_it_stays_inside():
    calls = []

    def counted(carry, t, own):
        jax.debug.callback(lambda t: calls.append(float(t)), t)
        return carry + jax.lax.cond(t > 0.5, jnp.log, lambda t: t, t), None

    out, _ = jax.jit(lambda: hoist.scan(counted, jnp.zeros(()), jnp.array([0.0, 1.0]), None))()
    jax.effects_barrier()
    assert sorted(calls) == [0.0, 1.0] and out == 0.0


def test_hardware_keys_and_callbacks_stay_inside():
    key = jax.random.key(0, impl="rbg")
    draw = lambda carry, x, own: (carry, jax.random.uniform(jax.random.fold_in(key, x)))  # noqa: E731
    ours = hoist.scan(draw, 0.0, jnp.arange(4), ())[1]
    theirs = jax.lax.scan(lambda carry, x: draw(carry, x, ()), 0.0, jnp.arange(4))[1]
    assert jnp.array_equal(ours, theirs)
    shape = jax.ShapeDtypeStruct((), jnp.int32)
    called = lambda carry, x, own: (carry, jax.pure_callback(lambda v: v + 1, shape, x))  # noqa: E731
    assert hoist.scan(called, 0.0, jnp.arange(4), ())[1].tolist() == [1, 2, 3, 4]
