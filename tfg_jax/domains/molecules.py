"""Molecules: positions of zero mean, and features, of as many atoms as their condition says; the rest is 0.

    P (positions, features) = (m (positions - mean of the m), m features)        m = 1 for the first `atoms` rows

Noise, samples and shifts live in this subspace, as in Hoogeboom et al. (ICML 2022, arXiv 2203.17003), so a network
that commutes with turns, mirrors and shifts gives guided samples that turn and mirror with their target.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count
from tfg_jax.domains.base import Domain, Spec
from tfg_jax.domains.points import dots
from tfg_jax.kinds import public

COLORS = np.array([[190, 190, 190], [60, 60, 60], [50, 90, 220], [220, 50, 40], [60, 180, 75]], np.uint8)
"""Of hydrogen, carbon, nitrogen, oxygen and fluorine, the first features of QM9."""


@struct.dataclass
class Molecules(Domain):
    """Molecules of one array (n, 3 + features), positions first, or of two, ``{"positions", "features"}``.

    Attributes:
        part: the key of the number of atoms in conditions that are dictionaries; None: the condition is that number.
    """

    part: str | None = struct.field(pytree_node=False, default=None)

    def mask(self, cond: PyTree) -> PyTree | None:
        """1 for rows with an atom, 0 below; None without a condition."""
        if cond is None:
            return None
        rows = jnp.arange(self.spec.shapes[0][0]) < (cond if self.part is None else cond[self.part])
        return self.spec.unflatten([rows[:, None]] * len(self.spec.shapes))

    def project(self, sample: PyTree, cond: PyTree) -> PyTree:
        """Without the mean of the positions, and 0 below the atoms."""
        mask = self.mask(cond)
        rows = jnp.ones((self.spec.shapes[0][0], 1)) if mask is None else _first(mask)
        if self.spec.is_array:
            features = sample[:, 3:] * rows.astype(sample.dtype)
            return jnp.concatenate([centered(sample[:, :3], rows), features], axis=-1)
        positions, features = sample["positions"], sample["features"]
        return {"positions": centered(positions, rows), "features": features * rows.astype(features.dtype)}

    def dimension(self, cond: PyTree) -> Any:
        """Entries of the atoms, without the three of the mean."""
        return jnp.maximum(Domain.dimension(self, cond) - 3, 0)

    def show(self, sample: PyTree) -> np.ndarray:
        """The atoms as dots, seen along the axis of least spread, colored by their largest feature."""
        both = (sample[:, :3], sample[:, 3:]) if self.spec.is_array else (sample["positions"], sample["features"])
        positions, features = (np.asarray(part, np.float64) for part in both)
        real = np.abs(features).sum(1) > 0
        positions, features = positions[real], features[real]
        if not np.isfinite(positions).all() or len(positions) == 0:
            return dots(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), 1.0)
        axes = np.linalg.svd(positions - positions.mean(0))[2]
        seen = (positions - positions.mean(0)) @ axes.T
        order = np.argsort(seen[:, 2])
        kinds = features[:, : len(COLORS)].argmax(1)
        return dots(seen[order], COLORS[kinds[order]], 1.2 * np.abs(seen).max() + 1e-6, radius=5.0)


def centered(positions: Float[Array, "*b n 3"], rows: Array) -> Float[Array, "*b n 3"]:
    """Positions without their mean over the rows that there are, (*b, n, 1), and 0 in the others."""
    real = rows.astype(positions.dtype)
    number = jnp.maximum(jnp.sum(real, axis=-2, keepdims=True), 1.0)
    return (positions - jnp.sum(positions * real, axis=-2, keepdims=True) / number) * real


def _first(mask: PyTree) -> Array:
    return mask["positions"] if isinstance(mask, dict) else mask


@public
def molecules(num_atoms: int, num_features: int, part: str | None = None, *, split: bool = False) -> Molecules:
    """The domain of molecules.

    Args:
        num_atoms: rows, the most atoms that a molecule may have, >= 1.
        num_features: features of an atom, >= 1.
        part: the key of the number of atoms in conditions that are dictionaries; None: the condition is that number.
        split: whether a sample is two arrays, ``{"positions": (n, 3), "features": (n, f)}``, not one (n, 3 + f).

    Raises:
        ValueError: counts below 1.
    """
    check_count("num_atoms", num_atoms)
    check_count("num_features", num_features)
    shape: Any = (num_atoms, 3 + num_features)
    if split:
        shape = {"positions": (num_atoms, 3), "features": (num_atoms, num_features)}
    return Molecules(Spec.of(shape), part)
