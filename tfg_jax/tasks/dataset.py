"""What a data set of labelled images brings to the tasks: the names of its networks, its classes, tuned methods."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DataSet:
    """A data set as commands know it.

    Attributes:
        name: for people.
        package: where ``CLASS_NAMES``, ``load_label_task``, ``load_evaluator``, ``shipped_images``, ``LABEL_PRESETS``,
            ``INVERSE_PRESETS`` and ``REWARD_UNITS`` are found when they are needed.
        request: the class that is raised where none is asked for.
        networks: released names by role: "model", "guide" of labels, "reward" guide, "noisy_guide", "evaluator", and
            "chooser", which says in a search what is better where it does not guide.
    """

    name: str
    package: str
    request: str
    networks: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.package), name)


class MoleculeSet(DataSet):
    """A data set of molecules with properties, whose networks predict these: roles "model", "guide", "evaluator",
    "chooser".

    Its package has ``load_molecule_task`` and ``MOLECULE_PRESETS``; ``request`` is the property that is asked for.
    """
