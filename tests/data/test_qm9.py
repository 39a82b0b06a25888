"""QM9: read from text once, kept in a compact file, cut in disjoint parts."""

import numpy as np
import pytest

from tfg_jax.data import qm9
from tfg_jax.weights import store

HEADER = "XYZ_file,SMILES,Elements,XYZ_Ang," + ",".join(column for column, _, _ in qm9.PROPERTIES.values())
WATER = """"w.xyz","O","['O','H','H']","[[0.,0.,0.1],[0.,0.76,-0.5],[0.,-0.76,-0.5]]",1.85,6.31,-0.29,0.07,0.36,6."""
METHANE = (
    """"m.xyz","C","['C','H','H','H','H']","[[0,0,0],[.63,.63,.63],[-.63,-.63,.63],[-.63,.63,-.63],[.63,-.63,-.63]]","""
    """0.,13.21,-0.3877,0.1171,0.5048,6.469"""
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """CSV files of three molecules, and the compact file's hash switched off, as it is that of the whole set."""
    for name, rows in (("qm9_part1.csv", [METHANE]), ("qm9_part2.csv", [WATER]), ("qm9_part3.csv", [METHANE])):
        (tmp_path / name).write_text("\n".join([HEADER, *rows]) + "\n")
    monkeypatch.setattr(qm9, "NUM_MOLECULES", 3)
    monkeypatch.setattr(qm9, "SHA256", None)
    monkeypatch.delenv(qm9.ENVIRONMENT_VARIABLE, raising=False)
    return tmp_path


def test_what_is_converted_comes_back(folder, monkeypatch):
    target = folder / "qm9" / qm9.FILE_NAME
    digest = qm9.convert(target, folder)
    from_text, compact = qm9.load(folder), qm9.load(target)
    monkeypatch.setenv(qm9.ENVIRONMENT_VARIABLE, str(folder))
    for molecules in (compact, qm9.load()):
        for a, b in zip(from_text[:3], molecules[:3], strict=True):
            np.testing.assert_array_equal(a, b)
        assert molecules.smiles == ["C", "O", "C"] and len(digest) == 64
        np.testing.assert_allclose(molecules.properties["gap"], np.array([0.5048, 0.36, 0.5048]) * 27211.386, rtol=1e-6)
    np.testing.assert_array_equal(compact.starts, [0, 5, 8, 13])
    positions, types = qm9.padded(compact, np.array([1, 0]), 6)
    np.testing.assert_array_equal(types, [[3, 0, 0, -1, -1, -1], [1, 0, 0, 0, 0, -1]])
    np.testing.assert_allclose(positions.sum(1), 0.0, atol=1e-6)
    assert not positions[types < 0].any()
    with pytest.raises(ValueError, match="size=4 is below 5"):
        qm9.padded(compact, np.array([0, 1]), 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("'O'", "'Xx'"), "damaged at w.xyz"),
        (lambda text: text.replace("0.76,", ""), "damaged at w.xyz"),
        (lambda text: text.replace("6.31", ""), "damaged at w.xyz"),
        (lambda text: text.split("\n")[0] + "\n", "holds 2 molecules where QM9 has 3"),
        (lambda text: text.replace("Dipole_debye", "Dipole"), "damaged at w.xyz"),
        (lambda text: text.replace("6.31", "nan"), "damaged at w.xyz .*not finite"),
        (lambda text: text.replace("0.76,", "inf,"), "damaged at w.xyz .*not finite"),
        (lambda text: text[: text.index("O") + len(text) // 2], "damaged at|holds 2 molecules"),
        (lambda text: text[: text.rindex(",\"['O'")], "damaged at w.xyz"),
        (lambda text: text.replace('"O"', '"\xff"'), "damaged at w.xyz .*ascii"),
        (lambda text: text.replace("6.31", "6.\xff1"), "damaged at w.xyz"),
        (lambda text: text.replace("Elements", "Element\x80"), "damaged at w.xyz"),
        (lambda text: text.replace("w.xyz", "w" * 200_000), "damaged at line .*field"),
    ],
)
def test_damaged_text_is_refused(folder, change, message):
    file = folder / "qm9_part2.csv"
    file.write_bytes(change(file.read_text()).encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        qm9.load(folder)


def test_foreign_and_damaged_files_are_refused(folder, monkeypatch):
    store.save_arrays(folder / "other.safetensors", {"a": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="holds no QM9"):
        qm9.load(folder / "other.safetensors")
    monkeypatch.setattr(qm9, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="sha256"):
        qm9.load(folder / "other.safetensors")


def test_missing_data_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv(qm9.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(qm9.importlib.util, "find_spec", lambda name: None)
    for path in (None, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match=r"QM9 not found .*pip install 'tfg_jax\[molecules\]'"):
            qm9.load(path)


def test_the_parts_are_disjoint_and_of_the_published_sizes():
    parts = qm9.split()
    assert {name: len(part) for name, part in parts.items()} == {
        "evaluator": 50_000, "generator": 50_000, "valid": 17_748, "test": 13_083,
    }  # fmt: skip
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(qm9.NUM_MOLECULES))
    assert len(np.concatenate(list(qm9.split(10).values()))) == 10
