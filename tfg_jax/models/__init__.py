"""Networks: ordinary batched Flax NNX modules, channels last, and input transforms; the core never imports them."""

from tfg_jax.lazy import attach

_HOMES = {
    "classifiers": ("EvaluatorConfig", "EvaluatorNet", "GuideConfig", "GuideNet", "NoisyGuideConfig", "NoisyGuideNet"),
    "conv": (),
    "pack": (),
    "unet2d": ("UNet2D", "UNet2DConfig"),
}
__all__ = [name for names in _HOMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _HOMES)
