"""Best of n: candidates are ordinary samples, the winner is the finished one with the highest score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg

D, N, SAMPLES = 3, 4, 3


def denoised(params, x, t, cond):
    return jnp.tanh(x)


def breaks(params, x, t, cond):
    """NaN for every sample whose first entry is positive once t < 0.8."""
    return jnp.where((t < 0.8) & (x[0] > 0), jnp.nan, 1.0) * denoised(params, x, t, cond)


def always_breaks(params, x, t, cond):
    return jnp.full_like(x, jnp.nan)


def towards(params, x0, target):
    return -jnp.sum((x0 - target) ** 2)


SCORE = tfg.objectives.from_fn(towards)
TARGET = jnp.array([[1.0, 0.0, 0.0], [-1.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
SAMPLER = tfg.DDIM(steps=2)


def model(network):
    return tfg.from_fn(network, None, tfg.VPLinear(), prediction="x0", shape=(D,))


def best(network=denoised, **options):
    given = {"n": N, "num_samples": SAMPLES, "score": SCORE, "target": TARGET, "sampler": SAMPLER, **options}
    return tfg.best_of_n(jax.random.key(0), model(network), **given)


def test_the_winner_among_ordinary_samples():
    out = best()
    every = tfg.sample(jax.random.key(0), model(denoised), num_samples=N * SAMPLES, sampler=SAMPLER)
    scores = -np.sum((np.asarray(every.x).reshape(SAMPLES, N, D) - np.asarray(TARGET)[:, None]) ** 2, axis=-1)
    np.testing.assert_allclose(out.info["score"], scores, rtol=1e-5)
    winners = np.asarray(every.x).reshape(SAMPLES, N, D)[np.arange(SAMPLES), scores.argmax(axis=1)]
    np.testing.assert_array_equal(out.x, winners)
    assert np.asarray(out.cost.forwards).tolist() == [N * SAMPLER.steps] * SAMPLES and out.status.ok.all()


def test_samples_keep_their_candidates_at_an_offset():
    np.testing.assert_array_equal(best(num_samples=1, target=TARGET[2:], index_offset=2).x, best().x[2:])


def test_one_candidate_is_plain_sampling():
    plain = tfg.sample(jax.random.key(0), model(denoised), num_samples=SAMPLES, sampler=SAMPLER)
    np.testing.assert_array_equal(best(n=1).x, plain.x)


def test_guided_candidates_and_another_score():
    out = best(objective=SCORE, guidance=tfg.TFG(rho=0.2, mu=0.2))
    assert np.asarray(out.info["score"]).max(axis=1).mean() > np.asarray(best().info["score"]).max(axis=1).mean()
    assert np.asarray(out.cost.pullbacks).tolist() == [N * SAMPLER.steps] * SAMPLES


def test_failed_candidates_do_not_win():
    """Under `breaks` some candidates fail; their scores are -inf. Where all fail, the status says so."""
    out = best(breaks)
    failed = np.isneginf(out.info["score"])
    assert failed.any() and not failed.all(axis=1).any()
    assert out.status.code.tolist() == [0] * SAMPLES and np.isfinite(out.x).all()
    lost = best(always_breaks)
    assert lost.status.code.tolist() == [1] * SAMPLES and np.isneginf(lost.info["score"]).all()


def needs_cond(x0, target, cond):
    return cond * jnp.sum(x0)


def test_it_compiles_under_jit():
    jitted = jax.jit(lambda key: tfg.best_of_n(
        key, model(denoised), n=N, num_samples=SAMPLES, score=SCORE, target=TARGET, sampler=SAMPLER
    ).x)  # fmt: skip
    np.testing.assert_allclose(jitted(jax.random.key(0)), best().x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0 must be an integer >= 1"),
        ({"num_samples": 0}, "num_samples=0 must be an integer >= 1"),
        ({"start": (jnp.ones((3, D)), 0.5)}, "start cannot be shared by n=4 candidates"),
        ({"noise": tfg.NoiseTape(jnp.ones((3, D)))}, "noise cannot be shared by n=4 candidates"),
        ({"score": needs_cond}, r"score cannot read samples of shape \(3,\) and this target"),
        ({"target": TARGET[:2]}, r"target has a leaf of shape \(2, 3\), num_samples=3"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        best(**options)
