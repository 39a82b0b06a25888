"""Tasks by name: a folder of this room, or code of the user's. Nothing heavy is imported for the former."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from typing import Any

from tfg_jax.references import given_by, is_reference
from tfg_jax.tasks.dataset import DataSet

DEFAULT = "fashion-mnist"
"""The one place outside its folder that names it."""


def task_names() -> list[str]:
    """Names of the data sets that the library brings."""
    return sorted(file.parent.name.replace("_", "-") for file in Path(__file__).parent.glob("*/data.py"))


def find_task(text: str) -> Any:
    """What ``--task`` names: a `DataSet`, or a `Task` of the user's.

    Raises:
        ValueError: an unknown name, or code that gives neither.
    """
    if text in task_names():
        return importlib.import_module(f"tfg_jax.tasks.{text.replace('-', '_')}.data").DATA
    if not is_reference(text):
        raise ValueError(f"task={text!r:.60} is unknown; choose one of {', '.join(task_names())}, or name a file.py")
    from tfg_jax.tasks.base import Task

    return given_by("task", text, (Task, DataSet), "make a task by tfg_jax.tasks.own_task", default="task")


def recipes() -> dict[str, tuple[str, str]]:
    """The module and the description of every recipe by its name; each task's folder lists its own."""
    known = {}
    for file in sorted(Path(__file__).parent.glob("*/recipes.py")):
        package = f"tfg_jax.tasks.{file.parent.name}"  # whose import takes long
        listed = runpy.run_path(str(file))["RECIPES"]
        known |= {name: (f"{package}.{module}", words) for name, (module, words) in listed.items()}
    return known
