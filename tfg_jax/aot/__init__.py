"""Guided samplers compiled ahead of time: written to one file, and run without the model's code.

save        lowers a sampler for the platforms that are named, for any number of samples
load        gives it back as a function of (key, target, cond, num_samples, index_offset)
"""

from tfg_jax.lazy import attach

_NAMES = {"file": (), "program": ("Program", "load"), "write": ("save",)}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
