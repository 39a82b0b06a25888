"""The numbers of a run of molecules, from made-up ones whose answer is known."""

import sys
from typing import Any

import numpy as np
import pytest

from tfg_jax.data import qm9
from tfg_jax.metrics import METRICS
from tfg_jax.metrics.molecule_run import MoleculeRun, by_sample, molecule_metrics
from tfg_jax.metrics.titles import MOLECULES

WATER = [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]


def make_run(**changes):
    """Two waters, hydroxyl, a water that the sampler lost, and nothing at all."""
    types = np.array([[3, 0, 0], [3, 0, 0], [3, 0, -1], [3, 0, 0], [-1, -1, -1]])
    positions = np.array([WATER] * 5, np.float32)
    positions[3] = np.nan
    targets = np.array([[6.0, 300.0]] * 5)
    values: dict[str, Any] = dict(
        x=positions, types=types, targets=targets, predicted=targets + [[1], [2], [3], [np.nan], [0]],
        properties=("alpha", "gap"), units=("bohr^3", "meV"), status_code=np.array([0, 0, 0, 1, 0]),
        status_step=np.array([-1, -1, -1, 7, -1]), seconds=2.0, guide=targets,
        cost={name: np.full(5, 10) for name in ("forwards", "pullbacks", "objective")},
        quantum=np.array([[10.0, np.nan], [8.0, np.nan]] + [[np.nan, np.nan]] * 3), quantum_failed=3,
    )  # fmt: skip
    return MoleculeRun(**(values | changes))


def test_every_attempt_is_counted():
    numbers = molecule_metrics(make_run(known={"O"}))
    assert (numbers["samples"], numbers["failed_samples"], numbers["quantum_failed"]) == (5, 1, 3)
    assert numbers["error_alpha"] == numbers["error_gap"] == 1.5 and numbers["guide_error_gap"] == 0.0
    assert numbers["quantum_error_alpha"] == 3.0 and "quantum_error_gap" not in numbers
    assert numbers["molecule_stability"] == 0.4 and numbers["atom_stability"] == 7 / 11
    # rdkit completes hydroxyl to water, as EDM's code has it
    assert numbers["validity"] == 0.6 and numbers["uniqueness"] == 1 / 3 and numbers["novelty"] == 0.0
    assert numbers["network_forwards_per_sample"] == 10 and numbers["molecules_per_second"] == 2.5
    assert "novelty" not in molecule_metrics(make_run()) and 0 <= numbers["error_alpha_low"] < 1.5


def test_a_molecule_that_failed_is_neither_stable_nor_valid_whatever_its_last_state():
    run = make_run(status_code=np.array([0, 3, 0, 1, 0]))
    values, numbers = by_sample(run), molecule_metrics(run)
    assert numbers["failed_samples"] == 2 and numbers["molecule_stability"] == 0.2 and numbers["validity"] == 0.4
    assert numbers["atom_stability"] == 4 / 11
    assert [values[name][1] for name in ("stable", "stable_atoms", "valid")] == [0, 0, 0]


def test_numbers_of_single_molecules():
    values = by_sample(make_run(quantum=None, guide=None))
    np.testing.assert_array_equal(values["error_alpha"], [1, 2, 3, np.nan, 0])
    np.testing.assert_array_equal(np.abs(values["reached_alpha"] - values["requested_alpha"]), values["error_alpha"])
    np.testing.assert_array_equal(values["stable"], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(values["stable_atoms"], [1, 1, 0.5, 0, 0])
    np.testing.assert_array_equal(values["valid"][:4], [1, 1, 1, 0])
    assert not any(name.startswith(("guide", "quantum")) for name in values)


def test_without_rdkit_or_a_finished_molecule_there_are_fewer_numbers(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    numbers = molecule_metrics(make_run(status_code=np.ones(5, int), seconds=0.0))
    assert numbers["failed_samples"] == 5 and numbers["molecules_per_second"] is None
    assert "validity" not in numbers and not any("error" in name for name in numbers)


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"predicted has shape \(5, 1\)"):
        make_run(predicted=np.zeros((5, 1)))


def test_every_number_has_a_title_and_the_unit_of_the_data():
    run = make_run(known=set(), quantum=np.zeros((5, 2)))
    missing = {name for name in molecule_metrics(run) if not name.endswith(("_low", "_high"))} - set(METRICS)
    assert missing == {"samples"} and set(MOLECULES) <= set(METRICS)
    for name, (_, _, unit) in qm9.PROPERTIES.items():
        assert {METRICS[f"{kind}_{name}"].unit for kind in ("error", "guide_error", "quantum_error")} == {unit}
