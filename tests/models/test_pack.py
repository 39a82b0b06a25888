import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax.models.pack import pack, unpack


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_exact_inverses(k, lead):
    x = np.random.default_rng(0).normal(size=(*lead, 8, 12, 3)).astype(np.float32)
    y = pack(jnp.asarray(x), k)
    assert y.shape == (*lead, 8 // k, 12 // k, 3 * k * k)
    assert np.array_equal(unpack(y, k), x)
    assert np.array_equal(pack(unpack(y, k), k), y)


def test_channel_order_is_the_documented_one():
    x, k = np.arange(4 * 6 * 2).reshape(4, 6, 2), 2
    y = pack(jnp.asarray(x), k)
    for i, j, a, b, c in np.ndindex(2, 3, 2, 2, 2):
        assert y[i, j, (a * k + b) * 2 + c] == x[i * k + a, j * k + b, c]


def test_errors():
    x = jnp.zeros((6, 9, 1))
    with pytest.raises(ValueError, match="k=2 does not divide"):
        pack(x, 2)
    with pytest.raises(ValueError, match="k=0 must be"):
        pack(x, 0)
    with pytest.raises(ValueError, match="multiple of 4 channels"):
        unpack(x, 2)
    with pytest.raises(ValueError, match="has shape"):
        pack(x[0], 1)
