"""Tasks: a model, an objective, targets, metrics and tuned guidance that belong together."""

from tfg_jax.tasks.chunks import Task, run_chunked
from tfg_jax.tasks.inverse import PROBLEMS, InverseTask, measure_images, problem_operator
from tfg_jax.tasks.label import LabelTask, balanced_targets, load_label_task
from tfg_jax.tasks.presets import inverse_preset, preset
from tfg_jax.tasks.scoring import Judge, Scores, load_judge

__all__ = [
    "InverseTask",
    "Judge",
    "LabelTask",
    "PROBLEMS",
    "Scores",
    "Task",
    "balanced_targets",
    "inverse_preset",
    "load_judge",
    "load_label_task",
    "measure_images",
    "preset",
    "problem_operator",
    "run_chunked",
]
