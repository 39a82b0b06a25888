"""Networks: Flax NNX modules on batches, one folder a family, and what they share; the core never imports them."""

from tfg_jax.lazy import attach

_NAMES = {
    "arrays": ("fill_nnx", "nnx_to_flat"),
    "attention": (),
    "classifiers": ("EvaluatorConfig", "EvaluatorNet", "GuideConfig", "GuideNet", "NoisyGuideConfig", "NoisyGuideNet"),
    "config": ("NetworkConfig",),
    "conv": (),
    "egnn": (),
    "family": ("Family", "Stored"),
    "pack": (),
    "unet2d": ("UNet2D", "UNet2DConfig"),
}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
