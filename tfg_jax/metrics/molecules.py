"""Molecules: stability by bond lengths (EDM, Hoogeboom et al., arXiv 2203.17003), and validity, uniqueness and novelty.

An atom is stable if the orders of its bonds, read off distances, add up to its valence; a molecule if all its atoms
are. Validity and what follows need rdkit, from the extra `molecules`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tfg_jax.data.bonds import atom_stable, bond_orders
from tfg_jax.data.qm9 import ELEMENTS
from tfg_jax.metrics.intervals import Estimate, bootstrap, wilson
from tfg_jax.rows import AnyArray, blocks, by_blocks


@dataclass(frozen=True)
class Stability:
    """Per molecule: how many atoms it has, how many are stable, whether all are; then both shares with intervals."""

    atoms: Int[np.ndarray, " m"]
    stable_atoms: Int[np.ndarray, " m"]
    stable: Bool[np.ndarray, " m"]
    atom_stability: Estimate
    molecule_stability: Estimate


def stability(positions: Float[AnyArray, "m n 3"], types: Int[AnyArray, "m n"], *, seed: int = 0) -> Stability:
    """Stability of molecules by EDM's table; a molecule with a position that is not finite has no stable atom.

    positions: in Angstrom. types: index of H, C, N, O, F, negative where there is no atom.
    The interval of the atoms' share is by bootstrap over molecules, whose atoms are not independent.
    Raises ValueError if the shapes do not fit.
    """
    _check(positions, types)
    rows = by_blocks(_stable_atoms, positions, types)
    stable_atoms, atoms = rows.T
    stable = (stable_atoms == atoms) & (atoms > 0)
    share = bootstrap(rows, lambda rows: rows[:, 0].sum() / max(rows[:, 1].sum(), 1), seed)
    return Stability(atoms, stable_atoms, stable, share, wilson(int(stable.sum()), len(stable)))


def smiles(positions: Float[AnyArray, "m n 3"], types: Int[AnyArray, "m n"]) -> list[str | None]:
    """Canonical SMILES of each molecule's largest fragment, without explicit hydrogens, or None if it is not valid.

    Valid means, as in EDM, that rdkit sanitizes the molecule built from the bonds of EDM's table.
    Raises ValueError if the shapes do not fit, and ImportError without rdkit.
    """
    _check(positions, types)
    return [text for part in blocks(positions) for text in _all_smiles(positions[part], types[part])]


@dataclass(frozen=True)
class Validity:
    """Shares with intervals: valid of all, unique of the valid, new (not among the known) of the unique."""

    valid: Estimate
    unique: Estimate
    novel: Estimate


def validity(found: list[str | None], known: Collection[str] = ()) -> Validity:
    """Validity, uniqueness and novelty of the `smiles` of samples; `known`: the training set's, by `smiles` too."""
    valid = [text for text in found if text is not None]
    unique = set(valid)
    new = unique - set(known)
    return Validity(wilson(len(valid), len(found)), wilson(len(unique), len(valid)), wilson(len(new), len(unique)))


def _all_smiles(positions: Any, types: Any) -> list[str | None]:
    finite = _finite(positions, types)
    orders = np.asarray(bond_orders(_usable(positions, types), types))
    return [_smiles(*row) if ok else None for ok, *row in zip(finite, orders, types, strict=True)]


def _stable_atoms(positions: np.ndarray, types: np.ndarray) -> np.ndarray:
    """(m, 2): stable atoms, and atoms."""
    present = types >= 0
    good = np.asarray(atom_stable(_usable(positions, types), types)) & present
    return np.stack([(good & _finite(positions, types)[:, None]).sum(1), present.sum(1)], 1)


def _finite(positions: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Which molecules have finite positions of all their atoms."""
    return np.asarray((np.isfinite(positions) | (types < 0)[..., None]).all((1, 2)))


def _usable(positions: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Positions with 0 where there is no atom, and throughout molecules that are not finite."""
    return np.where((_finite(positions, types)[:, None] & (types >= 0))[..., None], positions, 0.0)


def _smiles(order: np.ndarray, types: np.ndarray) -> str | None:
    try:
        from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("validity needs rdkit; install it with `pip install 'tfg_jax[molecules]'`.") from None
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    bonds: Any = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    molecule = Chem.RWMol()
    index = {i: molecule.AddAtom(Chem.Atom(ELEMENTS[types[i]])) for i in np.flatnonzero(types >= 0)}
    for i, j in zip(*np.nonzero(np.triu(order)), strict=True):
        molecule.AddBond(index[i], index[j], bonds[order[i, j]])
    try:
        parts = Chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=True)
        largest = max(parts, key=lambda part: part.GetNumAtoms())
        return Chem.MolToSmiles(Chem.RemoveHs(largest))
    except (ValueError, RuntimeError):  # rdkit's own errors are of these kinds
        return None


def _check(positions: Any, types: Any) -> None:
    if positions.ndim != 3 or positions.shape != (*types.shape, 3):
        raise ValueError(
            f"positions of shape {positions.shape} and types of shape {types.shape} do not fit;"
            " give (molecules, atoms, 3) and (molecules, atoms)."
        )
