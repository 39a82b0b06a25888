"""Attention in blocks: the value and the pullback of the textbook's formula, on every path that a platform may take."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax.models import attention as module
from tfg_jax.models.attention import attention


def textbook(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def value_and_pullback(fn):
    @jax.jit
    def both(q, k, v, g):
        out, pull = jax.vjp(fn, q, k, v)
        return out, *pull(g)

    return both


def operands(n, heads=2, d=4):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal((2, n, heads, d)), jnp.float32) for _ in range(4)]


@pytest.mark.parametrize("path", ["one block", "blocks", "elsewhere"])
def test_every_path_is_the_formula(path, monkeypatch):
    arrays = operands(12)
    monkeypatch.setattr(module, "BLOCK", 2 * 12 * 4 if path == "blocks" else 2**17)
    assert (module._blocks(2, 12) == 3) == (path == "blocks")
    fn = attention
    if path == "elsewhere":  # what other platforms are given, run here
        fn = jax.custom_vjp(lambda q, k, v: module._forward_whole(q, k, v)[0])
        fn.defvjp(
            lambda q, k, v: (module._forward_whole(q, k, v)[0], (q, k, v, *module._forward_whole(q, k, v))),
            lambda kept, g: module._backward_whole(*kept, g),  # type: ignore[call-arg]
        )
    for ours, theirs in zip(value_and_pullback(fn)(*arrays), value_and_pullback(textbook)(*arrays), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_counts_without_a_fitting_block_are_taken_whole(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1600)
    assert module._blocks(1, 127) == 1 and module._blocks(1, 128) == 16  # 127 is prime; 11 blocks would be enough


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_gradient_keeps_no_weights(platform, monkeypatch):
    """What is kept for the pullback, and the program of each platform."""
    q, k, v, _ = operands(48)
    kept = jax.eval_shape(lambda *a: jax.vjp(attention, *a)[1], q, k, v)
    assert max(leaf.size for leaf in jax.tree.leaves(kept)) < 48 * 48
    text = jax.jit(attention).trace(q, k, v).lower(lowering_platforms=(platform,)).as_text()
    # only the way in blocks takes the heads before the tokens and divides after the second product
    assert ("stablehlo.divide" in text.split("stablehlo.dot_general")[-1]) == (platform == "cpu")
    assert len(re.findall("stablehlo.dot_general", text)) == 2
