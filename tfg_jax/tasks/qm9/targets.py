"""What molecules are asked for: atom counts and properties of molecules of QM9, as they occur together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import numpy as np
from jaxtyping import Float

from tfg_jax.checks import check_count
from tfg_jax.data.qm9 import PROPERTIES
from tfg_jax.kinds import public

FILE = "qm9_targets.npz"
NEAREST = 64
"""Molecules around a wanted value whose atom counts are asked for."""
WARNED = (0.001, 0.999)
"""Quantiles of the data outside which a wanted value is warned of."""
MOST = 1e30
"""In any unit; what is larger no single precision can square the error of, or nobody meant."""


def joint() -> Float[np.ndarray, "m columns"]:
    """Atom counts and the six properties, in the order and units of `qm9.PROPERTIES`, of 4,096 molecules drawn at
    random from the half of the training set that the generator sees."""
    with resources.files("tfg_jax.data").joinpath(FILE).open("rb") as stream:
        with np.load(stream, allow_pickle=False) as arrays:
            return np.concatenate([arrays["counts"][:, None], arrays["properties"]], 1).astype(np.float32)


def columns(properties: Sequence[str]) -> list[int]:
    """Where properties stand in `qm9.PROPERTIES`. ValueError for an unknown one, one named twice, or none."""
    names = list(PROPERTIES)
    if unknown := [name for name in properties if name not in names]:
        raise ValueError(f"property={unknown[0]!r} is unknown; choose of {', '.join(names)}")
    if not properties or len(set(properties)) < len(properties):
        raise ValueError(f"property={' '.join(properties)!r} must name one property or several, each once")
    return [names.index(name) for name in properties]


@public
def requests(
    properties: Sequence[str], target: Sequence[float] = (), *, start: int = 0, atoms: int | None = None
) -> Float[np.ndarray, "m columns"]:
    """Atom count and wanted properties, one row a request; sample i takes row i modulo their number.

    Args:
        properties: names of `qm9.PROPERTIES`.
        target: wanted value of each, in its unit, with the atom counts of molecules of about these values; () are the
            values and atom counts of molecules of the data, as they occur together.
        start: the row that comes first, >= 0, so that trials and reports may ask for different ones.
        atoms: atom count of all; None as above.
    Raises:
        ValueError: unknown properties, or values that are not one finite number each.
    """
    check_count("start", start, low=0)
    if atoms is not None:
        check_count("atoms", atoms)
    rows = joint()[:, [0, *(1 + each for each in columns(properties))]]
    if len(target):
        wanted = np.asarray(target, np.float64)
        if wanted.shape != (len(properties),) or not (np.abs(wanted) < MOST).all():
            raise ValueError(f"target={list(target)} must hold one finite number for each of {', '.join(properties)}")
        distance = np.square((rows[:, 1:] - wanted) / rows[:, 1:].std(0)).sum(1)
        nearest = np.sort(np.argsort(distance, kind="stable")[:NEAREST])
        rows = np.concatenate([rows[nearest, :1], np.tile(wanted, (NEAREST, 1))], 1).astype(np.float32)
    if atoms is not None:
        rows[:, 0] = atoms
    return np.roll(rows, -start, axis=0)


def warnings_of(properties: Sequence[str], values: Sequence[float], counts: np.ndarray) -> list[str]:
    """What is asked for that the data hardly has, with the data's quantiles."""
    rows, notes = joint(), []
    for name, column, value in zip(properties, columns(properties), values, strict=False):
        data = rows[:, 1 + column]
        low, high = np.quantile(data, WARNED)
        if not low <= value <= high:
            quantiles = ", ".join(f"{each:.4g}" for each in np.quantile(data, [0.01, 0.25, 0.5, 0.75, 0.99]))
            unit = PROPERTIES[name][2]
            notes.append(
                f"target {name} = {value:g} {unit} lies outside the data, whose 1, 25, 50, 75 and 99 % quantiles are "
                f"{quantiles}; samples may not reach it"
            )
    seen = set(rows[:, 0].astype(int))
    if rare := sorted(set(counts.astype(int)) - seen):
        notes.append(
            f"atom counts {', '.join(map(str, rare))} are hardly among the data's {min(seen)} to {max(seen)}; such "
            "molecules may fall apart"
        )
    return notes
