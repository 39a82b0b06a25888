"""QM9 (Ramakrishnan et al., Scientific Data 1, 140022, 2014): small organic molecules of C, N, O, F with explicit
hydrogens, at most 29 atoms, with B3LYP geometries and properties.

The PyPI package `qm9pack` (MIT licence) carries as CSV text the 130,831 molecules that pass QM9's consistency check, of
133,885 (the set that the field trains on); `convert` reads them once into a compact file.
"""

import csv
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.weights import store

ELEMENTS = ("H", "C", "N", "O", "F")
ATOMIC_NUMBERS = (1, 6, 7, 8, 9)
MAX_ATOMS = 29
NUM_MOLECULES = 130_831
HARTREE_IN_MEV = 27211.386
PROPERTIES = {
    "mu": ("Dipole_debye", 1.0, "D"),
    "alpha": ("Polarizability_bohr3", 1.0, "bohr^3"),
    "homo": ("HOMO_au", HARTREE_IN_MEV, "meV"),
    "lumo": ("LUMO_au", HARTREE_IN_MEV, "meV"),
    "gap": ("HOMO_LUMO_gap_au", HARTREE_IN_MEV, "meV"),
    "cv": ("Heatcapacity_Cv_cal_mol_K", 1.0, "cal/(mol K)"),
}
"""Name -> (column of the source, factor to our unit, unit)."""
ENVIRONMENT_VARIABLE = "TFG_JAX_DATA"
FILE_NAME = "qm9.safetensors"
SHA256 = "ab38595e721db27236c6909678debb9ac76707cb0c4f3d0a6a876a100a67f2cd"
_SOURCES = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")
_TRAIN, _VALID = 100_000, 17_748
_HOW = (
    "install the extra with `pip install 'tfg_jax[molecules]'` (it brings the package qm9pack), or give the file that"
    f" tfg_jax.data.qm9.convert wrote (as --data of `tfg-jax train`, or named qm9/{FILE_NAME} in the folder that"
    f" {ENVIRONMENT_VARIABLE} names)"
)


class Molecules(NamedTuple):
    """Molecules one behind the other: atoms of molecule m are `starts[m] : starts[m + 1]`.

    `types` index `ELEMENTS`; `positions` are in Angstrom with zero mean; `properties` in the units of `PROPERTIES`.
    """

    counts: Int[np.ndarray, " m"]
    types: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    properties: dict[str, Float[np.ndarray, " m"]]
    smiles: list[str]

    @property
    def starts(self) -> Int[np.ndarray, " bounds"]:
        """Where each molecule's atoms begin, and at the end how many atoms there are in all."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])


def load(path: str | os.PathLike | None = None) -> Molecules:
    """All molecules, in the order of the source.

    `path`: file that `convert` wrote, or folder of the package's CSV files; default the file
    `$TFG_JAX_DATA/qm9/qm9.safetensors`, else the installed package `qm9pack` (slower to read: `convert` it once).
    Raises FileNotFoundError (no data) and ValueError (damaged data).
    """
    source = find(path)
    return _read_csv(source) if source.is_dir() else _read_compact(source)


def convert(target: str | os.PathLike, source: str | os.PathLike | None = None) -> str:
    """Write the compact file `target` from the CSV files (`source`: their folder, default the package's).

    Returns its sha256. Raises as `load`.
    """
    molecules = load(source)
    arrays = {
        "counts": molecules.counts.astype(np.uint8),
        "types": molecules.types.astype(np.uint8),
        "positions": molecules.positions,
        "smiles": np.frombuffer("\n".join(molecules.smiles).encode("ascii"), np.uint8),
        **{f"properties.{name}": values for name, values in molecules.properties.items()},
    }
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    return store.save_arrays(target, arrays)


def find(path: str | os.PathLike | None = None) -> Path:
    """The compact file or the folder of CSV files that `load` reads; raises FileNotFoundError if there is none."""
    if path is not None:
        candidates = [Path(path)]
    else:
        root, spec = os.environ.get(ENVIRONMENT_VARIABLE), importlib.util.find_spec("qm9pack")
        candidates = [Path(root) / "qm9" / FILE_NAME] if root else []
        candidates += [Path(folder) / "data" for folder in (spec.submodule_search_locations or [])] if spec else []
    for path in candidates:
        if path.is_file() or all((path / name).is_file() for name in _SOURCES):
            return path
    tried = ", ".join(map(str, candidates)) or "the installed packages"
    raise FileNotFoundError(f"QM9 not found in {tried}: {_HOW}.")


def split(num_molecules: int = NUM_MOLECULES) -> dict[str, Int[np.ndarray, " n"]]:
    """Disjoint index sets: "evaluator" and "generator" (the two halves of the training set), "valid" and "test".

    Sizes and roles as in EDM's conditional generation (Hoogeboom et al., arXiv 2203.17003): 100,000 train, 17,748
    validate, 13,083 test; evaluators learn on the first half, generator and guides on the second. A data set of another
    size is cut in the same proportions. The order is a fixed permutation of our own.
    """
    order = np.random.default_rng(0).permutation(num_molecules)
    train, known = (num_molecules * end // NUM_MOLECULES for end in (_TRAIN, _TRAIN + _VALID))
    parts = {"evaluator": (0, train // 2), "generator": (train // 2, train), "valid": (train, known)}
    parts["test"] = (known, num_molecules)
    return {name: np.sort(order[a:b]) for name, (a, b) in parts.items()}


def padded(molecules: Molecules, indices: Int[np.ndarray, " n"], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, size, 3) in Angstrom, 0 where there is no atom, and types (n, size), -1 where there is none."""
    counts, starts = molecules.counts[indices], molecules.starts[indices]
    if len(counts) and counts.max() > size:
        raise ValueError(f"size={size} is below {counts.max()}, the atom count of a molecule; give at least that.")
    offset = np.arange(size)
    present = offset < counts[:, None]
    atom = np.where(present, starts[:, None] + offset, 0)
    positions = np.where(present[..., None], molecules.positions[atom], np.float32(0))
    return positions, np.where(present, molecules.types[atom], -1).astype(np.int32)


def property_table(molecules: Molecules) -> Float[np.ndarray, "m p"]:
    """All properties, one column each, in the order of `PROPERTIES`."""
    return np.stack([molecules.properties[name] for name in PROPERTIES], 1)


def _read_compact(path: Path) -> Molecules:
    arrays = store.load_arrays(path, SHA256)
    names = {"counts", "types", "positions", "smiles", *(f"properties.{name}" for name in PROPERTIES)}
    if set(arrays) != names:
        raise ValueError(f"{path} holds no QM9 (its arrays are {', '.join(sorted(arrays))}); convert it again.")
    return Molecules(
        counts=arrays["counts"].astype(np.int32), types=arrays["types"].astype(np.int32), positions=arrays["positions"],
        properties={name: arrays[f"properties.{name}"] for name in PROPERTIES},
        smiles=arrays["smiles"].tobytes().decode("ascii").split("\n"),
    )  # fmt: skip


def _read_csv(folder: Path) -> Molecules:
    element = {name: index for index, name in enumerate(ELEMENTS)}
    counts, types, positions, smiles = [], [], [], []
    properties: dict[str, list[float]] = {name: [] for name in PROPERTIES}
    for name in _SOURCES:
        # What is no text is replaced, so that it is no number either.
        with (folder / name).open(newline="", encoding="ascii", errors="replace") as file:
            for row in _rows(csv.DictReader(file), folder / name):
                try:
                    atoms = [element[text.strip(" '")] for text in row["Elements"].strip("[]").split(",")]
                    flat = row["XYZ_Ang"].replace("[", "").replace("]", "").split(",")
                    xyz = np.array(flat, np.float64).reshape(len(atoms), 3)
                    values = {key: float(row[column]) * unit for key, (column, unit, _) in PROPERTIES.items()}
                    if not (np.isfinite(xyz).all() and np.isfinite(list(values.values())).all()):
                        raise ValueError("a number that is not finite")
                    row["SMILES"].encode("ascii")
                except (KeyError, ValueError, TypeError, AttributeError) as error:
                    at = row.get("XYZ_file")
                    raise ValueError(f"{folder / name} is damaged at {at} ({error}); install it again.") from None
                counts.append(len(atoms))
                types += atoms
                positions.append((xyz - xyz.mean(0)).astype(np.float32))
                smiles.append(row["SMILES"])
                for key, value in values.items():
                    properties[key].append(value)
    if len(counts) != NUM_MOLECULES:
        raise ValueError(f"{folder} holds {len(counts)} molecules where QM9 has {NUM_MOLECULES}; install it again.")
    return Molecules(
        np.array(counts, np.int32), np.array(types, np.int32), np.concatenate(positions),
        {key: np.array(value, np.float32) for key, value in properties.items()}, smiles,
    )  # fmt: skip


def _rows(table: csv.DictReader, file: Path) -> Iterator[dict[str, str]]:
    """The rows of a table. Raises ValueError where a line is none."""
    while True:
        try:
            row = next(table, None)
        except csv.Error as error:
            raise ValueError(f"{file} is damaged at line {table.line_num} ({error}); install it again.") from None
        if row is None:
            return
        yield row
