"""The molecule network: what it must commute with, and what it must not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tfg_jax import constructors, denoiser, schedules
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.convert import OneMolecule, as_flow
from tfg_jax.models.egnn.network import EGNN
from tfg_jax.models.egnn.properties import PropertyNet

CONFIG = EGNNConfig(width=16, pair_width=8, pair_hidden=8, heads=2, vectors=4, layers=2, radial=6)
ATOMS, PADDED = 5, 7


@pytest.fixture(scope="module")
def network():
    """Outputs of a network whose every weight is random, so that no zero initialization hides a term."""
    graphdef, params = nnx.split(EGNN(CONFIG, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(nnx.to_pure_dict(params))
    rng = np.random.default_rng(0)
    params = jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=a.shape) / 3, jnp.float32) for a in leaves])
    run = jax.jit(lambda x, h, mask, level: nnx.merge(graphdef, params).with_bonds(x, h, mask, level))
    return graphdef, params, run


@pytest.fixture(scope="module")
def molecule():
    """Two noisy molecules, the second one atom smaller, in arrays of seven atoms."""
    rng = np.random.default_rng(1)
    mask = np.arange(PADDED) < np.array([[ATOMS], [ATOMS - 1]])
    x = rng.normal(size=(2, PADDED, 3)).astype(np.float32) * mask[..., None]
    h = rng.normal(size=(2, PADDED, 6)).astype(np.float32) * mask[..., None]
    return x, h, mask, np.array([0.5, -2.0], np.float32)


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_turning_and_mirroring_and_shifting_commute_with_the_network(network, molecule, determinant):
    x, h, mask, level = molecule
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0].astype(np.float32)
    turn *= np.sign(np.linalg.det(turn)) * determinant
    (x0, h0), bonds = network[2](x, h, mask, level)
    shifted = (x @ turn + np.array([1.0, -2.0, 0.5], np.float32)) * mask[..., None]
    close(network[2](shifted, h, mask, level), ((x0 @ turn, h0), bonds))
    assert np.abs(x0).max() > 0.1


def test_the_order_of_atoms_does_not_matter(network, molecule):
    x, h, mask, level = molecule
    order = np.array([3, 6, 0, 5, 2, 1, 4])  # puts padding between atoms too
    (x0, h0), bonds = network[2](x, h, mask, level)
    expected = ((x0[:, order], h0[:, order]), bonds[:, order][:, :, order])
    moved, real = network[2](x[:, order], h[:, order], mask[:, order], level), mask[:, order]
    pairs = (real[:, :, None] & real[:, None])[..., None]
    close(moved[0], expected[0])
    close(moved[1] * pairs, expected[1] * pairs)


def test_padding_changes_nothing_and_stays_zero(network, molecule):
    x, h, mask, level = molecule
    (x0, h0), _ = network[2](x, h, mask, level)
    assert not np.any(np.asarray(x0)[~mask]) and not np.any(np.asarray(h0)[~mask])
    close(network[2](x[:, :ATOMS], h[:, :ATOMS], mask[:, :ATOMS], level)[0], (x0[:, :ATOMS], h0[:, :ATOMS]))
    close(network[2](x + 9.0 * ~mask[..., None], h - 9.0 * ~mask[..., None], mask, level)[0], (x0, h0))


def test_padding_is_no_nan_in_half_precision(network, molecule):
    graphdef, params, run = network
    x, h, mask, level = map(jnp.asarray, molecule)
    half, positions, features = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), (params, x, h))
    out = jax.jit(lambda *inputs: nnx.merge(graphdef, half)(*inputs))(positions, features, mask, level)
    for each, exact in zip(out, run(x, h, mask, level)[0], strict=True):
        np.testing.assert_allclose(each, exact, atol=0.05)


def test_clean_positions_have_zero_mean_at_every_level(network, molecule):
    x, h, mask, _ = molecule
    for level in (-np.inf, -14.0, 0.0, 14.0, np.inf):
        x0, h0 = network[2](x, h, mask, np.full(2, level, np.float32))[0]
        assert np.isfinite(x0).all() and np.isfinite(h0).all()
        np.testing.assert_allclose(x0.sum(1), 0.0, atol=1e-5)


def test_no_atom_and_one_atom_are_finite(network, molecule):
    x, h, _, level = molecule
    mask = np.arange(PADDED) < np.array([[0], [1]])
    grad = jax.grad(lambda x: sum(jnp.square(a).sum() for a in network[2](x, h, mask, level)[0]))(jnp.asarray(x))
    assert np.isfinite(grad).all()


def test_a_molecule_is_one_array_with_its_atom_count_as_condition(network, molecule):
    graphdef, params, run = network
    x, h, mask, _ = molecule
    model = constructors.from_fn(
        OneMolecule(graphdef, CONFIG), params, schedules.VPPolynomial(), prediction="x0", shape=(PADDED, 9),
        network_time=denoiser.log_sigma_time, num_classes=PADDED + 1,
    )  # fmt: skip
    level = np.full(2, model.schedule.level(0.3).log_snr, np.float32)
    one = jnp.concatenate([x[1], h[1]], -1)
    x0, h0 = run(x, h, mask, level)[0]
    close(jax.jit(lambda x, c: model(x, 0.3, c).x0)(one, ATOMS - 1), jnp.concatenate([x0[1], h0[1]], -1))
    with pytest.raises(ValueError, match="cond=None .* give cond= its atom count"):
        model(one, 0.3)
    # The straight path at the same sigma / alpha: the same clean molecule, seen through a scaling.
    flow = as_flow(model)
    t = float(flow.schedule.t_of_log_snr(level[0]))
    scaled = one * float(flow.schedule.level(t).scale)
    close(jax.jit(lambda x, c: flow(x, t, c).x0)(scaled, ATOMS - 1), jnp.concatenate([x0[1], h0[1]], -1))
    with pytest.raises(ValueError, match="no variance-preserving molecule model"):
        as_flow(flow)


def test_properties_are_invariant_and_blind_to_padding(molecule):
    x, h, mask, level = molecule
    graphdef, params = nnx.split(PropertyNet(CONFIG, 3, rngs=nnx.Rngs(0)))
    run = jax.jit(lambda *inputs: nnx.merge(graphdef, params)(*inputs))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0].astype(np.float32)
    order = np.array([3, 6, 0, 5, 2, 1, 4])
    expected = run(x, h, mask, level)
    assert expected.shape == (2, 3) and np.abs(expected).min() > 0
    close(run(((x @ -turn + 1.0) * mask[..., None])[:, order], h[:, order], mask[:, order], level), expected)
    close(run(x + 9.0 * ~mask[..., None], h - 9.0 * ~mask[..., None], mask, level), expected)
