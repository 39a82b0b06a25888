"""What stands for the names of a suite: released weights, folders, or what code of the user's gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tfg_jax.benchmark.suite import Entry, Need, Suite
from tfg_jax.denoiser import Denoiser, Model
from tfg_jax.models.egnn.convert import PropertyPredictor
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier
from tfg_jax.references import called, is_reference, resolve
from tfg_jax.runs.store import fingerprint
from tfg_jax.tasks.code import code_hash, wiring_hash
from tfg_jax.tasks.find import find_task
from tfg_jax.tasks.scoring import network_of

KINDS: Mapping[str, Any] = {"model": Model, "classifier": Classifier, "predictor": PropertyPredictor}
RELEASED: Mapping[str, Any] = {"model": Denoiser, "noisy_guide": NoisyClassifier}


class Sources:
    """Networks, data and functions of a suite, loaded when they are first asked for.

    Args:
        suite: whose needs they are.
        use: name of a need, or of a released network of a data set, to what stands for it.

    Raises:
        ValueError: a name that the suite does not know.
    """

    def __init__(self, suite: Suite, use: Mapping[str, Any]) -> None:
        self.needs = {need.name: need for need in suite.needs}
        known = [*self.needs, *dict.fromkeys(name for entry in suite.tasks for name in networks_of(entry).values())]
        if unknown := [name for name in use if name not in known]:
            raise ValueError(
                f"use={unknown[0]!r:.60} is nothing that suite {suite.name!r} asks for; it asks for {', '.join(known)}"
            )
        self._use = dict(use)
        self.network, self.need = cache(self._network), cache(self._need)
        self._hashes: dict[str, dict[str, str]] = {}

    def missing(self, entry: Entry) -> list[Need]:
        """What has to be handed in before a task can be run."""
        needs = [self.needs[name] for name in entry.needs]
        return [need for need in needs if not need.optional and not self.has(need.name)]

    def has(self, name: str) -> bool:
        """Whether something stands for a need."""
        return name in self._use

    def named(self, name: str, kind: Any) -> Any:
        """A network of a data set; what weights name stays a name, since what comes with them is found by it."""
        given = self._use.get(name, name)
        return given if isinstance(given, str | Path) and not is_reference(str(given)) else self.network(name, kind)

    def images(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Arrays (n, *shape): of picture files, or what code gives. ValueError if they are of another shape."""
        given = self._use[name]
        if shape is not None and isinstance(given, str | Path) and not is_reference(str(given)):
            from tfg_jax.data.inputs import read_images

            return read_images([Path(given)], shape)[0]
        arrays = np.asarray(self.need(name), np.float32)
        if (shape is not None and arrays.shape[1:] != tuple(shape)) or not np.isfinite(arrays).all():
            raise ValueError(f"use={name} gives arrays of shape {arrays.shape}; finite ones (n, *{shape}) are needed")
        return arrays

    def _network(self, name: str, kind: Any) -> Any:
        return network_of(name, self._use.get(name, name), kind)

    def _need(self, name: str) -> Any:
        """What was handed in for a need."""
        gives, given = self.needs[name].gives, self._use[name]
        if gives in KINDS:
            return self.network(name, KINDS[gives])
        value = resolve("use", str(given)) if isinstance(given, str | Path) else given
        if gives == "images":
            return called("use", str(given), value) if callable(value) else value
        if not callable(value):
            raise ValueError(f"use={name} is a {type(value).__name__}, a function is needed; name one")
        return value

    def inputs(self, entry: Entry) -> dict[str, str]:
        """Hashes of what the results of a task depend on."""
        if entry.name not in self._hashes:
            self._hashes[entry.name] = self._inputs(entry)
        return self._hashes[entry.name]

    def _inputs(self, entry: Entry) -> dict[str, str]:
        if entry.data:
            kinds = networks_of(entry).items()
            networks = {name: self.network(name, RELEASED.get(role, object)) for role, name in kinds}
            return {
                name: wiring_hash(each) if name in self._use else fingerprint(_arrays(each))
                for name, each in networks.items()
            }
        each = {name: self.need(name) for name in entry.needs if self.has(name) and name != entry.images}
        if entry.images and self.has(entry.images):
            shape = self.need(entry.model).shape if entry.kind == "restoration" else None
            each[entry.images] = self.images(entry.images, shape)
        return {name: _hash(value) for name, value in each.items()}


def networks_of(entry: Entry) -> dict[str, str]:
    """Released networks of a task by their roles."""
    if not entry.data:
        return {}
    roles = ("model", "evaluator") if entry.kind == "restoration" else ("model", "guide", "evaluator", "noisy_guide")
    return {role: name for role, name in find_task(entry.data).networks.items() if role in roles}


def read_use(words: Iterable[str]) -> dict[str, str]:
    """``NAME=WHAT`` of a command line. ValueError for a word of another form, or a name given twice."""
    use: dict[str, str] = {}
    for word in words:
        name, _, what = word.partition("=")
        if not name or not what or name in use:
            raise ValueError(f"use={word!r:.60} must be NAME=WHAT, each name once, such as cats=my_models.py:cats")
        use[name] = what
    return use


def _hash(value: Any) -> str:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return wiring_hash(value) if _arrays(value) else f"{name} {code_hash(value)}"


def _arrays(value: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(value) if hasattr(leaf, "dtype")]
