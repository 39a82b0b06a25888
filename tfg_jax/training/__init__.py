"""Training side room: one resumable loop (`loop.fit`) and the losses it minimizes.

    loop.py         fit, TrainState, Interrupted, shuffled
    checkpoint.py   atomic training state on disk
    diffusion.py    denoising loss for any schedule and prediction type

Importing touches no device.
"""

from tfg_jax.lazy import attach

_HOMES = {
    "checkpoint": (),
    "diffusion": ("diffusion_loss", "random_flip", "stratified_times"),
    "loop": ("Interrupted", "TrainState", "fit", "shuffled"),
}
__all__ = [name for names in _HOMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _HOMES)
