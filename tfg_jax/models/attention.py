"""Attention whose gradient keeps no matrix of tokens by tokens: softmax(q k^T / sqrt(d)) v and its pullback.

On CPUs the queries are taken a block at a time, so that a block's weights stay in the cache, and weights are normalized
after the product with v; elsewhere the work is ``jax.nn.dot_product_attention``'s. Either way the pullback computes the
weights again from q, k and, on CPUs, the logarithm of each row's sum. In float32 all agree to round-off.

    P = exp(q k^T - lse),   dv = P^T do,   dS = P (do v^T - <do, o>),   dq = dS k,   dk = dS^T q

The rule is reverse-mode only, as that of `tfg_jax.models.conv`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK = 2**17
"""Weights of one sample that are held at once on CPUs: with a few samples, about a second-level cache."""


@jax.custom_vjp
def attention(
    q: Float[Array, "b n heads d"], k: Float[Array, "b n heads d"], v: Float[Array, "b n heads d"]
) -> Float[Array, "b n heads d"]:
    """Self-attention of n tokens, one distribution a head; logits and weights in float32 or wider.

    Args:
        q, k, v: queries, keys and values, of one floating dtype.

    Returns:
        The weighted values, in the dtype of v.
    """
    return _forward(q, k, v)[0]


def _forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple]:
    out, lse = _on_platform(_forward_in_blocks, _forward_whole, q, k, v)
    return out, (q, k, v, out, lse)


def _backward(kept: tuple, cotangent: Array) -> tuple[Array, Array, Array]:
    return _on_platform(_backward_in_blocks, _backward_whole, *kept, cotangent)


attention.defvjp(_forward, _backward)


def _on_platform(in_blocks, whole, *operands: Array):
    # dot_product_attention would compute the softmax of doubles in single precision.
    if operands[0].dtype == jnp.float64:
        return in_blocks(*operands)
    return jax.lax.platform_dependent(*operands, cpu=in_blocks, default=whole)


def _forward_whole(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    out = jax.nn.dot_product_attention(q, k, v)
    return out, jnp.zeros((q.shape[0], q.shape[2], q.shape[1], 1), _wide(q))  # its pullback needs no sums


def _backward_whole(q: Array, k: Array, v: Array, out: Array, lse: Array, cotangent: Array) -> tuple:
    return jax.vjp(jax.nn.dot_product_attention, q, k, v)[1](cotangent)


def _forward_in_blocks(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    q, k, v = _scaled(q), _heads_first(k), _heads_first(v)

    def rows(q: Array) -> tuple[Array, Array]:
        logits = _product("bhqd,bhkd->bhqk", q, k)
        top = logits.max(-1, keepdims=True)
        weights = jnp.exp(logits - top)
        total = weights.sum(-1, keepdims=True)
        out = _product("bhqk,bhkd->bhqd", weights.astype(v.dtype), v) / total
        return out.astype(v.dtype), top + jnp.log(total)

    count = _blocks(*q.shape[1:3])
    out, lse = rows(q) if count == 1 else jax.tree.map(_joined, jax.lax.map(rows, _split(q, count)))
    return _heads_first(out), lse


def _backward_in_blocks(q: Array, k: Array, v: Array, out: Array, lse: Array, cotangent: Array) -> tuple:
    dtype, scale = q.dtype, q.shape[-1] ** -0.5
    q, k, v, out, cotangent = _scaled(q), *(_heads_first(each) for each in (k, v, out, cotangent))
    along = jnp.sum(cotangent.astype(lse.dtype) * out, -1, keepdims=True)

    def rows(q: Array, cotangent: Array, along: Array, lse: Array) -> tuple[Array, Array, Array]:
        weights = jnp.exp(_product("bhqd,bhkd->bhqk", q, k) - lse)
        gradients = (weights * (_product("bhqd,bhkd->bhqk", cotangent, v) - along)).astype(dtype)
        # d before k: a product over the queries is several times faster on CPUs in this order
        d_k = _product("bhqd,bhqk->bhdk", q, gradients)
        d_v = _product("bhqd,bhqk->bhdk", cotangent, weights.astype(dtype))
        return _product("bhqk,bhkd->bhqd", gradients, k), d_k, d_v

    count = _blocks(*q.shape[1:3])
    if count == 1:
        d_q, d_k, d_v = rows(q, cotangent, along, lse)
    else:

        def add(sums: tuple[Array, Array], block: tuple) -> tuple[tuple[Array, Array], Array]:
            d_q, d_k, d_v = rows(*block)
            return (sums[0] + d_k, sums[1] + d_v), d_q

        blocks = tuple(_split(each, count) for each in (q, cotangent, along, lse))
        zero = jnp.zeros_like(lse, shape=k.swapaxes(-1, -2).shape)
        (d_k, d_v), d_q = jax.lax.scan(add, (zero, zero), blocks)
        d_q = _joined(d_q)
    d_k, d_v = d_k.transpose(0, 3, 1, 2), d_v.transpose(0, 3, 1, 2)
    return (_heads_first(d_q) * scale).astype(dtype), d_k.astype(dtype), d_v.astype(dtype)


def _product(spec: str, a: Array, b: Array) -> Array:
    return jnp.einsum(spec, a, b, preferred_element_type=_wide(a))


def _wide(x: Array):
    return jnp.promote_types(x.dtype, jnp.float32)


def _heads_first(x: Array) -> Array:
    return x.swapaxes(1, 2)


def _scaled(q: Array) -> Array:
    return _heads_first(q) * q.shape[-1] ** -0.5


def _blocks(heads: int, n: int) -> int:
    """In how many equal blocks to take n queries: the fewest that are small enough."""
    wanted = min(n, math.ceil(heads * n * n / BLOCK))
    return next((count for count in range(wanted, min(8 * wanted, n) + 1) if n % count == 0), 1)


def _split(x: Array, count: int) -> Array:
    b, h, n, d = x.shape
    return jnp.moveaxis(x.reshape(b, h, count, n // count, d), 2, 0)


def _joined(x: Array) -> Array:
    count, b, h, rows, d = x.shape
    return jnp.moveaxis(x, 0, 2).reshape(b, h, count * rows, d)
