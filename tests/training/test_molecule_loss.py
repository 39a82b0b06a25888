"""The losses of molecules: the exact network has none, and batches come from the step alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax.data import qm9
from tfg_jax.data.bonds import bond_orders
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.training import molecules as training

COUNTS = np.array([3, 3, 5, 16, 3, 17, 5, 3])
ATOMS = int(COUNTS.sum())
RNG = np.random.default_rng(0)
DATA = qm9.Molecules(
    COUNTS, RNG.integers(0, 5, ATOMS), RNG.normal(size=(ATOMS, 3)).astype(np.float32),
    {name: RNG.normal(size=8).astype(np.float32) for name in qm9.PROPERTIES}, ["C"] * 8,
)  # fmt: skip


def batch_of(molecules):
    positions, types = qm9.padded(DATA, np.array(molecules), 5)
    mask = types >= 0
    positions = (positions - (positions.sum(1) / mask.sum(1)[:, None])[:, None]) * mask[..., None]
    return {"positions": positions, "types": types, "properties": qm9.property_table(DATA)[molecules]}


def test_the_exact_network_has_no_loss_and_an_error_counts_as_much_on_small_molecules():
    batch = batch_of([0, 2, 4, 6])
    denoised = training.features_of(batch["types"])
    orders = bond_orders(batch["positions"], batch["types"])

    def apply(params, x, h, mask, log_snr):
        return (batch["positions"] + params * mask[..., None], denoised), 50.0 * jax.nn.one_hot(orders, 4)

    loss_fn = jax.jit(training.molecule_loss(apply, EGNNConfig()))
    loss, parts = loss_fn(0.0, batch, jax.random.key(0))
    assert loss < 1e-5 and {"x", "h", "bonds", "x1", "x4"} <= set(parts)
    loss, parts = loss_fn(0.01, batch, jax.random.key(0))
    # The weight of Karras et al. is 1 / output scale^2: 1 / sigma^2 + 1 / scale^2 of the ratio sigma / alpha.
    assert parts["x1"] > parts["x2"] > parts["x3"] > parts["x4"] > 0
    np.testing.assert_allclose(loss, parts["x"], rtol=1e-5)


def test_noise_keeps_the_mean_of_positions_and_stays_off_the_padding():
    seen = []

    def apply(params, x, h, mask, log_snr):
        seen.append((x, h, mask))
        return (x, h), jnp.zeros((*mask.shape, mask.shape[1], 4))

    training.molecule_loss(apply, EGNNConfig())(0.0, batch_of([0, 2]), jax.random.key(1))
    x, h, mask = seen[0]
    np.testing.assert_allclose(x.sum(1), 0.0, atol=1e-5)
    assert not np.any(np.asarray(x)[~mask]) and not np.any(np.asarray(h)[~mask])


@pytest.mark.parametrize("noisy", [0.0, 0.5])
def test_properties_are_compared_standardised(noisy):
    batch, moments = batch_of([0, 2, 4, 6]), np.array([[1.0] * 6, [2.0] * 6])

    def apply(params, x, h, mask, log_snr):
        return (batch["properties"] - 1.0) / 2.0 + params

    loss, parts = training.property_loss(apply, moments, noisy=noisy)(0.25, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, 0.25, rtol=1e-5)
    assert list(parts) == list(qm9.PROPERTIES)
    np.testing.assert_allclose(list(parts.values()), 0.25, rtol=1e-5)


def test_features_say_the_element():
    types = np.array([[0, 1, 2, 3, 4, -1]])
    features = training.features_of(types)
    np.testing.assert_allclose(features[0, :5, 5], [0.1, 0.6, 0.7, 0.8, 0.9], rtol=1e-6)
    assert not np.any(features[0, 5])
    np.testing.assert_array_equal(training.types_of(features, types >= 0), types)


def test_batches_are_a_function_of_the_step_and_hold_molecules_of_a_size():
    batches, per_epoch = training.bucketed(DATA, np.arange(8), 2, seed=3)
    assert per_epoch == 4  # three of up to 15 atoms, one of 16 and 17
    shapes = sorted(batches(step)["types"].shape for step in range(per_epoch))
    assert shapes == [(2, 15)] * 3 + [(2, 17)]
    again = training.bucketed(DATA, np.arange(8), 2, seed=3)[0]
    for step in (5, 0, 5):
        for name, values in batches(step).items():
            np.testing.assert_array_equal(values, again(step)[name])
    seen = np.concatenate([batches(step)["properties"][:, 0] for step in range(per_epoch)])
    np.testing.assert_array_equal(np.sort(seen), np.sort(DATA.properties["mu"]))
    with pytest.raises(ValueError, match="batch_size=9 leaves no full batch"):
        training.bucketed(DATA, np.arange(8), 9, seed=0)
