"""Pictures of molecules: drawn in the plane by rdkit where it is installed, else their atoms as dots."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.data.qm9 import ELEMENTS
from tfg_jax.domains.molecules import molecules
from tfg_jax.domains.points import SIDE
from tfg_jax.report.images import Pixels

TILE = 2 * SIDE
"""Pixels of a side."""


def has_rdkit() -> bool:
    """Whether molecules can be drawn with their bonds."""
    try:
        from rdkit import Chem  # noqa: F401  # pyright: ignore[reportMissingImports]
        from rdkit.Chem.Draw import rdMolDraw2D  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def bonds_drawn(sdf: str) -> Pixels | None:
    """A molecule of an SDF file, drawn in the plane without hydrogens on carbon; None where rdkit is missing or sees no
    molecule in its bonds."""
    try:
        from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]
        from rdkit.Chem import rdDepictor  # pyright: ignore[reportMissingImports]
        from rdkit.Chem.Draw import rdMolDraw2D  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    from PIL import Image

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    try:
        molecule: Any = Chem.MolFromMolBlock(sdf.split("M  END")[0] + "M  END\n")
        if molecule is None or molecule.GetNumAtoms() == 0:
            return None
        rdDepictor.Compute2DCoords(molecule)
        canvas = rdMolDraw2D.MolDraw2DCairo(TILE, TILE)
        rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
        canvas.FinishDrawing()
    except (ValueError, RuntimeError):  # rdkit's own errors are of these kinds
        return None
    return np.asarray(Image.open(io.BytesIO(canvas.GetDrawingText())).convert("RGB"))


def atoms_drawn(positions: Float[np.ndarray, "atoms 3"], types: Int[np.ndarray, " atoms"]) -> Pixels:
    """The atoms of a molecule as dots, by element."""
    features = np.eye(len(ELEMENTS))[np.maximum(types, 0)] * (types >= 0)[:, None]
    positions = np.where((types >= 0)[:, None], positions, 0.0)
    picture = molecules(len(types), len(ELEMENTS)).show(np.concatenate([positions, features], 1))
    return picture.repeat(TILE // SIDE, 0).repeat(TILE // SIDE, 1)
