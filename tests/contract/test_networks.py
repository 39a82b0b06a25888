"""Bring your own network: Flax modules see their batch axis, precision is where it belongs."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from flax import linen as nn
from flax import nnx
from problems import D

import tfg_jax as tfg

SHAPE = (4, 4, 4)


class NnxNet(nnx.Module):
    """Convolution and GroupNorm: statistics over one image's pixels and the channels of a group."""

    def __init__(self, rngs):
        self.norm = nnx.GroupNorm(4, num_groups=2, rngs=rngs)
        self.conv = nnx.Conv(4, 4, (3, 3), rngs=rngs)

    def __call__(self, x, t):
        return self.conv(self.norm(x)) + t[:, None, None, None]


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, t):
        return nn.Conv(4, (3, 3))(nn.GroupNorm(num_groups=2)(x)) + t[:, None, None, None]


def nnx_case():
    net = NnxNet(nnx.Rngs(0))
    return tfg.from_nnx(net, tfg.VPLinear(), prediction="eps", shape=SHAPE), net


def linen_case():
    net = LinenNet()
    variables = net.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros(1))
    return tfg.from_linen(net, variables, tfg.VPLinear(), prediction="eps", shape=SHAPE), (
        lambda x, t: net.apply(variables, x, t)
    )


@pytest.mark.parametrize("case", [nnx_case, linen_case])
def test_one_sample_equals_the_batched_network(case):
    """Flax's GroupNorm takes the first axis of an unbatched image for the batch: the trap that the wrappers avoid."""
    model, net = case()
    x = jax.random.normal(jax.random.key(1), (3, *SHAPE)) * jnp.array([1.0, 3.0, 0.2])[:, None, None, None]
    t = jnp.array([0.2, 0.5, 0.9])
    raw = jax.vmap(model)(x, t).eps
    np.testing.assert_allclose(raw, net(x, t), rtol=1e-5, atol=1e-5)


def test_an_unbatched_call_would_be_wrong():
    """What happens without the wrapper: no error, other statistics."""
    _, net = nnx_case()
    x = jax.random.normal(jax.random.key(1), SHAPE)
    direct = net.norm(x)
    assert np.abs(np.asarray(direct - net.norm(x[None])[0])).max() > 0.05


def test_nnx_sampling_compiles_once_for_rebuilt_wrappers():
    model, net = nnx_case()
    again = tfg.from_nnx(net, tfg.VPLinear(), prediction="eps", shape=SHAPE)
    assert jax.tree.structure(model) == jax.tree.structure(again)


SEEN: dict[str, jnp.dtype] = {}


def wide(params, x, t, cond):
    SEEN.update(x=x.dtype, params=params.dtype)
    return params @ jnp.tanh(x)


W = np.random.default_rng(0).standard_normal((D, D)) / 2


def draw(model, dtype=jnp.float32, method="tfg", **given):
    given = {**problems.arguments(method, 0.3), "sampler": tfg.DDIM(steps=2), **given}
    tape = jax.tree.map(lambda draws: draws.astype(dtype), problems.tape(2, given["guidance"].n_recur))
    return tfg.sample(jax.random.key(0), model, noise=tape, **given)


def test_bfloat16_is_for_the_network_alone():
    model = tfg.from_fn(wide, jnp.asarray(W, jnp.float32), tfg.VPLinear(), prediction="v", shape=(D,))
    full = draw(model)
    assert full.x.dtype == jnp.float32 and SEEN == {"x": jnp.float32, "params": jnp.float32}
    half = draw(model.astype(jnp.bfloat16))
    assert half.x.dtype == jnp.float32 and SEEN == {"x": jnp.bfloat16, "params": jnp.bfloat16}
    assert 0 < np.abs(half.x - full.x).max() < 0.05
    assert draw(model, jnp.bfloat16).x.dtype == jnp.float32  # never below float32 outside of the network


@pytest.mark.parametrize("sampler", problems.SAMPLERS)
def test_double_precision_follows_the_input(sampler, x64):
    """float64 noise gives float64 all the way, float32 noise stays float32 also when double precision is on."""
    model = tfg.from_fn(wide, jnp.asarray(W), tfg.VPLinear(), prediction="v", shape=(D,))
    rule = problems.SAMPLERS[sampler](2)
    double = draw(model, jnp.float64, "tfg", sampler=rule, record=tfg.Record(steps=(0, 1)))
    assert double.x.dtype == double.info["x"].dtype == jnp.float64 and SEEN["x"] == jnp.float64
    single = draw(model, jnp.float32, "ugd", sampler=rule, clip=tfg.Clip(-9.0, 9.0))
    assert single.x.dtype == jnp.float32 and SEEN["x"] == jnp.float32


def test_keys_draw_single_precision(x64):
    model = tfg.from_fn(wide, jnp.asarray(W), tfg.VPLinear(), prediction="v", shape=(D,))
    given = problems.arguments("tfg_smoothed", 0.3)
    out = tfg.sample(jax.random.key(0), model, sampler=tfg.DDIM(steps=2), window=(-99.0, 99.0), **given)
    assert out.x.dtype == jnp.float32 and SEEN["x"] == jnp.float32
