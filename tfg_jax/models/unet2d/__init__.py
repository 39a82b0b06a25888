"""The UNet of Ho et al. and Song et al., as diffusers writes it: `config`, `blocks`, `network`, `convert`."""

from tfg_jax.lazy import attach

_NAMES = {
    "blocks": (),
    "config": ("UNet2DConfig",),
    "convert": ("load_diffusers_state",),
    "network": ("Frequencies", "UNet2D", "timestep_embedding"),
}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
