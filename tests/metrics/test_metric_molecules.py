"""Stability by bond lengths, validity by rdkit: molecules whose answer is known."""

import inspect
import sys

import numpy as np
import pytest

from tfg_jax.data import bonds
from tfg_jax.metrics import molecules

H, C, N, O, F = range(5)
RING = np.stack([np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3), np.zeros(6)], 1)
ETHYNE = [[0, 0, -1.66], [0, 0, -0.6], [0, 0, 0.6], [0, 0, 1.66]]
TETRAHEDRON = 1.09 / 3**0.5 * np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
KNOWN = {
    "methane": (TETRAHEDRON, [C, H, H, H, H], True, "C"),
    "methyl": (TETRAHEDRON[:4], [C, H, H, H], False, None),
    "water": ([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]], [O, H, H], True, "O"),
    "ethyne": (ETHYNE, [H, C, C, H], True, "C#C"),
    "nitrogen": ([[0, 0, 0], [0, 0, 1.1]], [N, N], True, "N#N"),
    "hydrogen fluoride": ([[0, 0, 0], [0, 0, 0.92]], [H, F], True, "F"),
    "lone atom": ([[0, 0, 0]], [O], False, "O"),
    # Kekule's benzene: the table needs bonds of 1.34 and 1.47 in turn, and calls the true ring of 1.40 one of singles
    "benzene": (np.concatenate([RING * 1.397, RING * 2.481]), [C] * 6 + [H] * 6, False, None),
}


def arrays(names):
    size = max(len(KNOWN[name][1]) for name in names)
    positions, types = np.zeros((len(names), size, 3), np.float32), np.full((len(names), size), -1)
    for row, name in enumerate(names):
        positions[row, : len(KNOWN[name][1])], types[row, : len(KNOWN[name][1])] = KNOWN[name][:2]
    return positions, types


def test_stability_of_known_molecules():
    positions, types = arrays(KNOWN)
    found = molecules.stability(positions, types)
    assert dict(zip(KNOWN, found.stable.tolist(), strict=True)) == {name: row[2] for name, row in KNOWN.items()}
    atoms = [len(row[1]) for row in KNOWN.values()]
    assert found.atoms.tolist() == atoms
    assert found.stable_atoms.tolist() == [5, 3, 3, 4, 2, 2, 0, 6]
    assert found.atom_stability.value == pytest.approx(25 / sum(atoms))
    assert found.molecule_stability.value == 5 / 8


def test_bond_orders_of_the_table():
    lengths = [1.70, 1.60, 1.38, 1.22]  # carbon and carbon: none, single, double, triple
    positions = np.array([[[0, 0, 0], [0, 0, length]] for length in lengths])
    orders = np.asarray(bonds.bond_orders(positions, np.full((4, 2), C)))
    np.testing.assert_array_equal(orders[:, 0, 1], [0, 1, 2, 3])
    np.testing.assert_array_equal(orders, orders.swapaxes(1, 2))
    assert np.all(np.diff(bonds.LIMITS, axis=0) <= 0)  # the number of orders that fit is the highest


def test_turning_and_padding_leave_stability_alone():
    positions, types = arrays(["methane", "water"])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    wide = np.pad(positions @ turn + 2.0, ((0, 0), (0, 3), (0, 0)))
    found = molecules.stability(wide, np.pad(types, ((0, 0), (0, 3)), constant_values=-1))
    assert found.stable.all() and found.atoms.tolist() == [5, 3]


def test_a_molecule_that_is_not_finite_is_counted_as_unstable():
    positions, types = arrays(["methane", "water"])
    positions[1, 0, 0] = np.nan
    found = molecules.stability(positions, types)
    assert found.stable.tolist() == [True, False] and found.stable_atoms.tolist() == [5, 0]
    positions[1, 0, 0], positions[1, 4, 1] = 0.0, np.inf  # beside the molecule: nothing that counts
    assert molecules.stability(positions, types).stable.all()


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 3), (3, 5, 3), (2, 5, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit"):
        inspect.unwrap(molecules.stability)(np.zeros(shape), np.zeros((2, 5), int))


def test_validity_counts_over_all_attempts():
    found = molecules.validity(["C", "C", "O", None], known={"C"})
    assert [x.value for x in (found.valid, found.unique, found.novel)] == [0.75, pytest.approx(2 / 3), 0.5]
    assert np.isnan(molecules.validity([None]).unique.value)


def test_smiles_of_known_molecules():
    names = [name for name in KNOWN if name not in ("methyl", "benzene")]
    assert molecules.smiles(*arrays(names)) == [KNOWN[name][3] for name in names]
    too_many = np.concatenate([TETRAHEDRON, [[0, 0, 1.0]]])[None], np.array([[C, H, H, H, H, H]])
    assert molecules.smiles(*too_many) == [None]
    positions, types = arrays(["water"])
    positions[0, 1, 0] = np.nan
    assert molecules.smiles(positions, types) == [None]


def test_without_rdkit_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'tfg_jax\[molecules\]'"):
        molecules.smiles(*arrays(["water"]))
