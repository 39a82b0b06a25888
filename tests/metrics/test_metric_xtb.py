"""Properties by xtb, with a program that prints what xtb prints, fails as it fails, and hangs."""

import contextlib
import inspect
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tfg_jax.data import qm9
from tfg_jax.metrics import xtb

WATER = """\
   *** convergence criteria satisfied after 9 iterations ***
         4        2.0000           -0.4473148             -12.1721 (HOMO)
         5                          0.0753537               2.0505 (LUMO)
    * Orbital Energies and Occupations
         4        2.0000           -0.4473148             -12.1721 (HOMO)
         5                          0.0753537               2.0505 (LUMO)
 Mol. α(0) /au        :          9.429003
molecular dipole:
                 x           y           z       tot (Debye)
 q only:        0.000       0.000      -0.636
   full:        0.000       0.000      -0.904       2.298
molecular quadrupole (traceless):
   full:       -1.303       0.000       1.371      -0.000      -0.000      -0.068
"""
VALUES = {"mu": 2.298, "alpha": 9.429003, "homo": -12172.1, "lumo": 2050.5, "gap": 14222.6}
# What the program does is told by the number of atoms.
PROGRAM = """#!/bin/sh
here=$(dirname "$0")
[ "$OMP_NUM_THREADS" = 1 ] || exit 9
case $(head -n 1 molecule.xyz) in
  2) cat "$here/water"; exit 1;;
  3) cat "$here/water"; touch leftover;;
  4) sed 's/satisfied after 9/cannot be satisfied within 250/' "$here/water";;
  5) sed 's/9.429003/*********/' "$here/water";;
  6) head -c 5000 /dev/urandom;;
  7) sed 's/2.0505/NaN/; s/-0.904       2.298/nan nan/' "$here/water";;
  8) sleep 60 & echo $! > "$here/child"; wait;;
  *) ;;
esac
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "water").write_text(WATER, "utf-8")
    file = tmp_path / "xtb"
    file.write_text(PROGRAM)
    file.chmod(0o755)
    return str(file)


def chains(*sizes):
    """Molecules of some numbers of atoms, 1 Angstrom apart."""
    types = np.where(np.arange(8) < np.array(sizes)[:, None], 0, -1)
    return np.stack([np.tile(np.arange(8.0), (len(sizes), 1))] + [np.zeros((len(sizes), 8))] * 2, -1), types


def test_values_are_read_put_on_their_lines_and_failures_counted(program):
    positions, types = chains(3, 2, 4, 5, 6, 7, 1, 0, 3, 3, 3)
    positions[8, 1] = np.nan
    positions[9, 1] = positions[9, 0]  # two nuclei in one place
    positions[10, 5] = np.nan  # where there is no atom
    properties = ("cv", "gap", "alpha", "mu", "homo", "lumo")
    values, failures = xtb.XTB(program, workers=3)(positions, types, properties)
    assert failures == 9 and np.isnan(values[1:-1]).all() and np.isnan(values[:, 0]).all()
    for row in (0, -1):
        np.testing.assert_allclose(
            values[row, 1:], [np.polyval(xtb.read_lines()[name], VALUES[name]) for name in properties[1:]]
        )
    # what is not asked for may be missing
    values, failures = xtb.XTB(program)(positions[3:4], types[3:4], ("mu",))
    assert failures == 0 and np.isfinite(values).all()
    for none in ((positions[:0], types[:0], ("mu", "cv")), (positions[:2], types[:2], ("cv",))):
        values, failures = xtb.XTB(program)(*none)
        assert values.shape == (len(none[0]), len(none[2])) and np.isnan(values).all() and failures == 0


def test_a_program_that_hangs_is_ended_with_its_children(program):
    start = time.monotonic()
    values, failures = xtb.XTB(program, seconds=2.0)(*chains(8), ("alpha",))
    assert failures == 1 and np.isnan(values).all() and time.monotonic() - start < 30
    state = Path("/proc", (Path(program).parent / "child").read_text().strip(), "stat")
    with contextlib.suppress(OSError):  # it is gone
        while state.read_text().split()[2] not in "ZX":
            assert time.monotonic() - start < 50  # of the 60 seconds that the child sleeps
            time.sleep(0.05)


def test_a_program_that_prints_without_an_end_is_ended(program, monkeypatch):
    monkeypatch.setattr(xtb, "MOST_TEXT", 10_000)
    Path(program).write_text("#!/bin/sh\nexec yes garbage\n")
    start = time.monotonic()
    assert xtb.XTB(program, seconds=300.0)(*chains(3), ("mu",))[1] == 1 and time.monotonic() - start < 100


def test_no_folder_is_left_and_a_program_that_cannot_run_is_a_failure(program, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    assert xtb.XTB(program)(*chains(3), ("mu",))[1] == 1  # no such folder
    (tmp_path / "scratch").mkdir()
    assert xtb.XTB(program)(*chains(3), ("mu",))[1] == 0 and not os.listdir(tmp_path / "scratch")
    Path(program).write_bytes(b"\x00\x01")
    assert xtb.XTB(program)(*chains(3), ("mu",))[1] == 1


def test_wrong_calls_are_refused_in_one_sentence(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="program='xtb' is not found; install it with `apt install xtb`"):
        xtb.XTB()(*chains(3), ("mu",))
    positions, types = chains(3)
    for call, message in (
        (lambda: xtb.XTB(program, seconds=0.0)(positions, types, ("mu",)), "seconds=0.0 must be above 0"),
        (lambda: xtb.XTB(program, workers=-1)(positions, types, ("mu",)), "workers"),
        (lambda: inspect.unwrap(xtb.XTB.raw)(xtb.XTB(program), positions[0], types), "do not fit"),
        (lambda: xtb.XTB(program)(positions, types + 6, ("mu",)), "types holds 6"),
        (lambda: xtb.XTB(program, lines="nowhere.json")(positions, types, ("mu",)), "nowhere.json.*fit_xtb.py"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for damaged in ("[]", "{", '{"properties": {"mu": {"slope": 1}}}', '{"properties": {"zpve": {}}}'):
        (tmp_path / "lines.json").write_text(damaged)
        with pytest.raises(ValueError, match="holds no lines"):
            xtb.read_lines(tmp_path / "lines.json")
    (tmp_path / "lines.json").write_text('{"properties": {"cv": {"slope": 1, "intercept": 0}}}')
    with pytest.raises(ValueError, match="'cv'"):
        xtb.read_lines(tmp_path / "lines.json")


def test_the_lines_of_the_library_help():
    table = json.loads((Path(xtb.__file__).parent / xtb.FILE).read_text())
    assert set(table["properties"]) == set(xtb.KNOWN) <= set(qm9.PROPERTIES)
    assert min(table["fitted_on"], table["scored_on"]) >= 390 and table["program"].startswith("xtb ")
    assert all(row["error"] < 0.6 * row["spread"] and row["slope"] > 0 for row in table["properties"].values())
    assert hash(xtb.XTB()) == hash(xtb.XTB())  # a field of tasks, which are compared
