"""Classifiers: shapes, cost, input gradients, samples that do not see each other, configurations that survive JSON."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tfg_jax.models import classifiers as c
from tfg_jax.models.classifiers.network import LOG_SNR_RANGE

NETS = {
    "guide": (c.GuideNet, c.GuideConfig(side=12, widths=(4, 6), blocks=(1, 1))),
    "evaluator": (c.EvaluatorNet, c.EvaluatorConfig(side=12, width=4, depths=(1, 1), num_features=5)),
    "noisy": (c.NoisyGuideNet, c.NoisyGuideConfig(side=12, widths=(4, 6), blocks=(1, 1), embedding=8)),
}


@functools.cache
def build(which):
    """Graph and random parameters; the residual branches, zero when new, would hide what they do."""
    net, config = NETS[which]
    graphdef, state = nnx.split(nnx.eval_shape(lambda: net(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return (rng.normal(size=leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1])))).astype(np.float32)

    return graphdef, jax.tree.map(draw, state)


def call(which, method="__call__"):
    graphdef, params = build(which)
    return jax.jit(lambda *batch: getattr(nnx.merge(graphdef, params), method)(*batch))


def inputs(which, n=3):
    x = np.random.default_rng(0).normal(size=(n, 12, 12, 1)).astype(np.float32)
    return (x, np.linspace(-4.0, 4.0, n, dtype=np.float32)) if which == "noisy" else (x,)


@pytest.mark.parametrize("which", NETS)
def test_logits_and_features(which):
    features, logits = call(which, "features")(*inputs(which)), call(which)(*inputs(which))
    size = {"guide": 6 * 3 * 3, "evaluator": 5, "noisy": 6 * 3 * 3}[which]
    assert logits.shape == (3, 10) and features.shape == (3, size) and logits.dtype == jnp.float32
    head = build(which)[1]["head"]
    np.testing.assert_allclose(features @ head["kernel"][...] + head["bias"][...], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("which", NETS)
def test_samples_do_not_see_each_other(which):
    f, batch = call(which), inputs(which)
    changed = (batch[0].copy(), *batch[1:])
    changed[0][1:] = 0.0
    np.testing.assert_array_equal(f(*changed)[0], f(*batch)[0])
    assert np.abs(f(*changed)[1] - f(*batch)[1]).max() > 1e-3


@pytest.mark.parametrize("which", NETS)
def test_input_gradients_match_finite_differences(which, x64):
    graphdef, params = build(which)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x, *rest = (a.astype(np.float64) for a in inputs(which, n=1))
    direction = np.random.default_rng(1).normal(size=x.shape)

    def f(x, *rest):
        return jax.nn.log_softmax(nnx.merge(graphdef, params)(x, *rest))[0, 3]

    both = jax.jit(jax.value_and_grad(f))

    def value_and_gradient(step):
        value, gradient = both(x + step * direction, *rest)
        return value, np.vdot(gradient, direction)

    numeric = (value_and_gradient(1e-5)[0] - value_and_gradient(-1e-5)[0]) / 2e-5
    np.testing.assert_allclose(value_and_gradient(0.0)[1], numeric, rtol=1e-6)


def test_the_noisy_net_reads_its_level_and_bears_both_ends():
    f, x = call("noisy"), inputs("noisy")[0]
    level = lambda *values: f(x, np.array(values, np.float32))  # noqa: E731
    assert np.abs(level(-1, -1, -1) - level(1, 1, 1)).max() > 1e-3
    ends = level(np.inf, -np.inf, 0)
    assert np.isfinite(ends).all()
    np.testing.assert_array_equal(ends, level(*LOG_SNR_RANGE[::-1], 0))


def test_levels_have_distinct_embeddings():
    l = np.linspace(*LOG_SNR_RANGE, 201, dtype=np.float32)
    e = np.asarray(jax.jit(c.log_snr_embedding, static_argnums=1)(l, 64))
    assert e.shape == (201, 64)
    distance = np.linalg.norm(e[:, None] - e[None], axis=-1) + 10 * np.eye(201)
    assert distance.min() > 0.05


def test_the_guide_is_cheap():
    """Four guide calls cost well under one call of a 0.3 GFLOP denoiser."""
    graphdef, params = nnx.eval_shape(lambda: nnx.split(c.GuideNet(rngs=nnx.Rngs(0))))
    x = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    cost = jax.jit(lambda p, x: nnx.merge(graphdef, p)(x)).lower(params, x).cost_analysis() or {}
    assert 1e6 < cost["flops"] < 0.03e9


@pytest.mark.parametrize("which", NETS)
def test_configs_survive_json(which):
    config = NETS[which][1]
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="has no field 'extra'"):
        type(config).from_dict({"extra": 1})


@pytest.mark.parametrize(
    ("build_bad", "message"),
    [
        (lambda: c.GuideConfig(side=12, widths=(4,), blocks=(1, 1)), "blocks"),
        (lambda: c.GuideConfig(side=12, widths=(), blocks=()), "blocks"),
        (lambda: c.NoisyGuideConfig(embedding=7), "embedding"),
        (lambda: c.EvaluatorConfig(side=30), "side"),
    ],
)
def test_bad_configs_are_refused(build_bad, message):
    with pytest.raises(ValueError, match=message):
        build_bad()
