"""Tasks: a model, an objective, targets, metrics and tuned guidance that belong together."""

import warnings
from typing import TYPE_CHECKING, Any

from tfg_jax.lazy import attach

_HOMES = {
    "base": ("Evaluation", "OwnTask", "Task", "own_task"),
    "dataset": ("DataSet",),
    "find": ("find_task",),
    "inverse": ("PROBLEMS", "InverseTask", "measure_images", "problem_operator"),
    "label": ("LabelTask", "balanced_targets", "label_task"),
    "scoring": ("Evaluator", "Scores"),
}
_OF_DEFAULT = ("inverse_preset", "load_evaluator", "load_label_task", "preset")
"""Names that belong to the data set named by default."""
_OLD_NAMES = {"Judge": "Evaluator", "load_judge": "load_evaluator"}
"""Names before version 0.2, which go with the next release."""
_get, _dir = attach(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if name in _OLD_NAMES:
        warnings.warn(f"tfg_jax.tasks.{name} is called {_OLD_NAMES[name]}", DeprecationWarning, stacklevel=2)
        return __getattr__(_OLD_NAMES[name])
    if name in _OF_DEFAULT:
        from tfg_jax.tasks.find import DEFAULT, find_task

        return getattr(find_task(DEFAULT), name)
    if name == "run_chunked":
        from tfg_jax.runs.run import run_chunked

        return run_chunked
    return _get(name)


def __dir__() -> list[str]:
    return sorted([*_dir(), *_OF_DEFAULT])


if TYPE_CHECKING:
    from tfg_jax.runs.run import run_chunked as run_chunked
    from tfg_jax.tasks.base import Evaluation as Evaluation
    from tfg_jax.tasks.base import OwnTask as OwnTask
    from tfg_jax.tasks.base import Task as Task
    from tfg_jax.tasks.base import own_task as own_task
    from tfg_jax.tasks.dataset import DataSet as DataSet
    from tfg_jax.tasks.find import find_task as find_task
    from tfg_jax.tasks.inverse import (
        PROBLEMS as PROBLEMS,
    )
    from tfg_jax.tasks.inverse import (
        InverseTask as InverseTask,
    )
    from tfg_jax.tasks.inverse import (
        measure_images as measure_images,
    )
    from tfg_jax.tasks.inverse import (
        problem_operator as problem_operator,
    )
    from tfg_jax.tasks.label import (
        LabelTask as LabelTask,
    )
    from tfg_jax.tasks.label import (
        balanced_targets as balanced_targets,
    )
    from tfg_jax.tasks.label import (
        label_task as label_task,
    )
    from tfg_jax.tasks.scoring import Evaluator as Evaluator
    from tfg_jax.tasks.scoring import Scores as Scores

    inverse_preset: Any
    load_evaluator: Any
    load_label_task: Any
    preset: Any
