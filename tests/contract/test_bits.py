"""What is promised about bits: sample i depends on (weights, configuration, key, index) alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest

import tfg_jax as tfg

D, STEPS, CHUNK = 6, 3, 4
RNG = np.random.default_rng(0)
WEIGHTS = {
    "in": RNG.standard_normal((16, D)).astype(np.float32),
    "out": RNG.standard_normal((D, 16)).astype(np.float32),
}
HEAD = RNG.standard_normal((5, D)).astype(np.float32)
TARGETS = np.array([0, 3, 1, 4, 2, 2, 0, 1, 3], np.int32)


def network(params, x, t, cond):
    return 0.3 * (jnp.asarray(params["out"]) @ jnp.tanh(jnp.asarray(params["in"]) @ x + t))


def logits(params, x):
    return jnp.asarray(params) @ x


MODEL = tfg.from_fn(network, WEIGHTS, tfg.VPLinear(), prediction="x0", shape=(D,))
OBJECTIVE = tfg.objectives.class_log_prob(tfg.objectives.Classifier(HEAD, logits, num_classes=5))
GUIDANCE = tfg.TFG(rho=0.4, mu=0.2, n_iter=2, smoothing=0.2, n_mc=2, n_recur=2)


def draw(targets, chunk: int | None = CHUNK, offset: Any = 0, key=7):
    return tfg.sample(
        jax.random.key(key), MODEL, objective=OBJECTIVE, target=jnp.asarray(targets), guidance=GUIDANCE,
        sampler=tfg.DDIM(steps=STEPS), chunk=chunk, index_offset=offset,
    )  # fmt: skip


@pytest.fixture(scope="module")
def all_nine():
    return np.asarray(draw(TARGETS).x)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_number_of_samples_changes_no_bit(all_nine, n):
    np.testing.assert_array_equal(draw(TARGETS[:n]).x, all_nine[:n])


def test_index_offset_changes_no_bit(all_nine):
    np.testing.assert_array_equal(draw(TARGETS[4:], offset=4).x, all_nine[4:])
    np.testing.assert_array_equal(draw(TARGETS[2:7], offset=jnp.asarray(2)).x, all_nine[2:7])


def test_other_samples_targets_change_no_bit(all_nine):
    """Targets of others permuted: what keeps its index and target keeps its bits, the others change."""
    shuffled = TARGETS[[0, 2, 1, 3, 8, 5, 6, 7, 4]]
    same = shuffled == TARGETS
    other = np.asarray(draw(shuffled).x)
    np.testing.assert_array_equal(other[same], all_nine[same])
    assert np.all(np.abs(other - all_nine)[~same].max(axis=1) > 1e-4) and not same.all()


def test_repeated_runs_and_other_keys(all_nine):
    np.testing.assert_array_equal(draw(TARGETS).x, all_nine)
    assert np.abs(np.asarray(draw(TARGETS, key=8).x) - all_nine).min(axis=1).min() > 0


@pytest.mark.parametrize("chunk", [None, 1, 9])
def test_chunk_sizes_agree_to_round_off(all_nine, chunk):
    """To 1e-5 of each sample's size: compilers choose kernels by shape."""
    off = np.linalg.norm(np.asarray(draw(TARGETS, chunk=chunk).x) - all_nine, axis=1)
    assert np.all(off <= 1e-5 * np.linalg.norm(all_nine, axis=1))


def test_legacy_and_typed_keys_agree(all_nine):
    legacy = tfg.sample(
        jax.random.PRNGKey(7), MODEL, objective=OBJECTIVE, target=jnp.asarray(TARGETS), guidance=GUIDANCE,
        sampler=tfg.DDIM(steps=STEPS), chunk=CHUNK,
    )  # fmt: skip
    np.testing.assert_array_equal(legacy.x, all_nine)


def test_all_draws_of_a_run_are_distinct():
    """Every draw of every sample, stream, step and recurrence, collected inside the loop."""
    seen = []

    def note(index, recurrence_count, *draws):
        seen.append(np.concatenate([np.ravel(d) for d in draws]))

    def spy(ctx):
        jax.debug.callback(note, ctx.index, 0, ctx.noise.step, ctx.noise.renoise, ctx.noise.churn, ctx.noise.mc(2))
        return ctx.index

    out = tfg.sample(
        jax.random.key(1), problems.denoiser(problems.schedules()["edm"]), num_samples=3,
        guidance=tfg.Unguided(n_recur=2), sampler=tfg.DDIM(steps=STEPS), record=tfg.Record(summary=spy),
    )  # fmt: skip
    jax.block_until_ready(out.x)
    jax.effects_barrier()
    values = np.concatenate(seen)
    assert values.size == 3 * STEPS * 2 * 5 * problems.D  # samples, steps, recurrences, draws, entries
    assert np.unique(values).size == values.size
