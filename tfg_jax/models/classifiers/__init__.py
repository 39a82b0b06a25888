"""Small image classifiers: `config`, `network`, `convert`."""

from tfg_jax.lazy import attach

_NAMES = {
    "config": ("EvaluatorConfig", "GuideConfig", "NoisyGuideConfig"),
    "convert": (),
    "network": ("EvaluatorNet", "GuideNet", "NoisyGuideNet", "log_snr_embedding"),
}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
