"""QM9: small organic molecules in three dimensions, and their properties."""

from tfg_jax.lazy import attach

_HOMES = {
    "data": ("DATA",),
    "presets": ("MOLECULE_PRESETS",),
    "targets": ("requests",),
    "task": ("MoleculeTask", "load_molecule_task"),
}
__getattr__, __dir__ = attach(__name__, _HOMES)
