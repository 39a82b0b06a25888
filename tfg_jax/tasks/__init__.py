"""Tasks: a model, an objective, targets, metrics and tuned guidance that belong together."""

from tfg_jax.tasks.label import LabelTask, balanced_targets, load_label_task, run_chunked
from tfg_jax.tasks.presets import preset
from tfg_jax.tasks.scoring import Judge, Scores, load_judge

__all__ = [
    "Judge",
    "LabelTask",
    "Scores",
    "balanced_targets",
    "load_judge",
    "load_label_task",
    "preset",
    "run_chunked",
]
