"""Released weights: `store` (files), `manifest`, `released` (models by name), `old` (earlier spellings)."""

from tfg_jax.lazy import attach

_NAMES = {
    "diffusers": ("load_diffusers_state",),
    "manifest": (),
    "old": (),
    "released": ("diffusion_config", "input_shape", "load", "load_moments"),
    "store": ("fill_nnx", "load_arrays", "nnx_to_flat", "read_weights", "save_arrays", "save_weights"),
}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
