"""Fashion-MNIST: all that the library knows of its ten garments, its size and the networks that are shipped for it."""

from tfg_jax.lazy import attach

_HOMES = {
    "data": ("DATA",),
    "images": ("CLASS_NAMES", "shipped_images"),
    "label": ("load_evaluator", "load_label_task"),
    "presets": ("INVERSE_PRESETS", "LABEL_PRESETS", "REWARD_UNITS", "inverse_preset", "preset"),
}
__getattr__, __dir__ = attach(__name__, _HOMES)
