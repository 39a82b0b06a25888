"""Training side room: one resumable loop (`loop.fit`) and the losses it minimizes.

    loop.py         fit, TrainState, Interrupted, shuffled
    checkpoint.py   atomic training state on disk
    diffusion.py    denoising loss for any schedule and prediction type
    molecules.py    denoising loss of molecules, loss of their properties
    recipe.py       Recipe, train: from data to released weights

Importing touches no device.
"""

from tfg_jax.lazy import attach

_NAMES = {
    "checkpoint": (),
    "diffusion": ("diffusion_loss", "random_flip", "stratified_times"),
    "molecules": (),
    "recipe": ("Hyper", "Lessons", "Recipe", "train"),
    "loop": ("Interrupted", "TrainState", "fit", "shuffled"),
}
__all__ = [name for names in _NAMES.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = attach(__name__, _NAMES)
