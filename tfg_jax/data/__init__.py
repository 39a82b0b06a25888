"""Data: `fashion_mnist`, the full set from disk, and `sample`, 100 test images shipped with the package."""

from tfg_jax.lazy import attach

_NAMES = {"fashion_mnist": (), "sample": ("load_sample",)}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
