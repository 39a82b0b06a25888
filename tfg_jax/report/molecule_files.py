"""Molecules as the text of SDF (V2000) and extended XYZ files, which chemical programs read; needs none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tfg_jax.data.bonds import VALENCES, bond_orders
from tfg_jax.data.qm9 import ELEMENTS
from tfg_jax.metrics.molecule_run import MoleculeRun, by_sample
from tfg_jax.rows import as_rows, blocks, by_blocks, chosen

WIDEST = 9_999.0
"""Angstrom: the columns of a V2000 file hold no coordinate beyond."""
NO_BONDS = 15
"""What V2000 writes for an atom that has no bond at all; 0 leaves it to the reader's valences."""


def writable(run: MoleculeRun) -> Bool[np.ndarray, " n"]:
    """Which molecules finished, have an atom, and coordinates that a file's columns hold."""

    def fits(positions: np.ndarray, types: np.ndarray) -> np.ndarray:
        inside = np.abs(np.where((types < 0)[..., None], 0.0, positions)) <= WIDEST
        return np.asarray(inside.all((1, 2)) & (types >= 0).any(1))

    return run.ok() & by_blocks(fits, as_rows(run.x), as_rows(run.types))


def sdf_texts(run: MoleculeRun, which: Int[np.ndarray, " m"]) -> Iterator[str]:
    """Molecules by their indices as entries of an SDF file; bonds by EDM's table."""
    x, types, facts = chosen(run.x, which), chosen(run.types, which), by_sample(run)
    for part in blocks(x):
        positions, elements = x[part], types[part]
        orders = np.asarray(bond_orders(positions, elements))
        for k, i in enumerate(which[part].tolist()):
            yield sdf(positions[k], elements[k], orders[k], facts_of(facts, i), name=f"sample {i}")


def xyz_texts(run: MoleculeRun, which: Int[np.ndarray, " m"]) -> Iterator[str]:
    """Molecules by their indices as frames of an extended XYZ file."""
    x, types, facts = as_rows(run.x), as_rows(run.types), by_sample(run)
    return (xyz(x[i], types[i], facts_of(facts, i)) for i in which.tolist())


def facts_of(values: Mapping[str, np.ndarray], i: int) -> dict[str, Any]:
    """What is written beside molecule i: its place among the samples and its numbers."""
    return {"sample": i} | {name: float(value[i]) for name, value in values.items()}


def sdf(
    positions: Float[np.ndarray, "atoms 3"],
    types: Int[np.ndarray, " atoms"],
    orders: Int[np.ndarray, "atoms atoms"],
    facts: Mapping[str, Any],
    name: str = "",
) -> str:
    """One molecule, with facts as fields. An atom whose bonds are not its valence says so, or a reader would add
    hydrogens to it."""
    present = np.flatnonzero(types >= 0)
    orders = np.triu(np.asarray(orders)[np.ix_(present, present)])
    totals, bonds = (orders + orders.T).sum(1), np.argwhere(orders)
    lines = [name, f"  {'tfg_jax':<8}{'':10}3D", "", f"{len(present):3d}{len(bonds):3d}{'  0' * 8}999 V2000"]
    for i, total in zip(present, totals.tolist(), strict=True):
        valence = 0 if total == VALENCES[types[i]] else total or NO_BONDS
        x, y, z = positions[i].tolist()
        lines.append(f"{x:10.4f}{y:10.4f}{z:10.4f} {ELEMENTS[types[i]]:<3} 0{'  0' * 4}{valence:3d}{'  0' * 6}")
    lines += [f"{a + 1:3d}{b + 1:3d}{orders[a, b]:3d}  0" for a, b in bonds]
    lines.append("M  END")
    for key, value in facts.items():
        lines += [f">  <{key}>", _number(value), ""]
    return "\n".join([*lines, "$$$$", ""])


def xyz(positions: Float[np.ndarray, "atoms 3"], types: Int[np.ndarray, " atoms"], facts: Mapping[str, Any]) -> str:
    """One molecule, with facts as ``key=value`` in its comment."""
    present = np.flatnonzero(types >= 0)
    comment = " ".join(["Properties=species:S:1:pos:R:3", *(f"{key}={_number(each)}" for key, each in facts.items())])
    rows = ["{} {:.6f} {:.6f} {:.6f}".format(ELEMENTS[types[i]], *positions[i].tolist()) for i in present]
    return "\n".join([str(len(present)), comment, *rows, ""])


def formula(types: Int[np.ndarray, " atoms"]) -> str:
    """Of Hill's system, carbon and hydrogen first: `CH4O`; `no atoms` of none."""
    counts = {element: int((np.asarray(types) == i).sum()) for i, element in enumerate(ELEMENTS)}
    order = ["C", "H", "F", "N", "O"] if counts["C"] else ["F", "H", "N", "O"]
    return "".join(f"{e}{counts[e] if counts[e] > 1 else ''}" for e in order if counts[e]) or "no atoms"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
