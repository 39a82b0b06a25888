"""QM9: small organic molecules in three dimensions, and their properties."""

from typing import TYPE_CHECKING

from tfg_jax.lazy import attach

_HOMES = {
    "data": ("DATA",),
    "presets": ("MOLECULE_PRESETS",),
    "targets": ("requests",),
    "task": ("MoleculeTask", "load_molecule_task"),
}
__all__ = ["MOLECULE_PRESETS", "MoleculeTask", "load_molecule_task", "requests"]
__getattr__, __dir__ = attach(__name__, _HOMES)

if TYPE_CHECKING:
    from tfg_jax.tasks.qm9.data import DATA as DATA
    from tfg_jax.tasks.qm9.presets import MOLECULE_PRESETS as MOLECULE_PRESETS
    from tfg_jax.tasks.qm9.targets import requests as requests
    from tfg_jax.tasks.qm9.task import MoleculeTask as MoleculeTask
    from tfg_jax.tasks.qm9.task import load_molecule_task as load_molecule_task
