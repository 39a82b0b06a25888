"""The methods of a suite's tasks: tuned ones as they are when it runs, or classes of the library with settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfg_jax.benchmark.suite import PRESETS, UNGUIDED, Entry, Target
from tfg_jax.benchmark.tables import Unfit
from tfg_jax.tasks.find import find_task, task_names

PRESETS_OF = {"labels": "LABEL_PRESETS", "restoration": "INVERSE_PRESETS", "properties": "MOLECULE_PRESETS"}


def presets_of(entry: Entry) -> Mapping[str, Any]:
    """Methods that are tuned for a task, if it is one of the library."""
    if entry.data not in task_names() or entry.kind not in PRESETS_OF:
        return {}
    return getattr(find_task(entry.data), PRESETS_OF[entry.kind], {})


def names_of(entry: Entry) -> list[str]:
    """Of its methods, in the order of its tables."""
    presets = presets_of(entry)
    return list(dict.fromkeys(each for name in entry.methods for each in (presets if name == PRESETS else [name])))


def methods_of(entry: Entry, target: Target) -> dict[str, Any]:
    """Methods of a target by name; None is unguided. Raises `Unfit` for settings that a method does not take."""
    return {name: _method(entry, target, name) for name in names_of(entry)}


def settings_of(entry: Entry) -> Iterator[tuple[Target, str]]:
    """Every target with every method that settings are given for."""
    for target in entry.targets:
        for name in dict.fromkeys([*entry.settings, *target.settings]):
            yield target, name


def _method(entry: Entry, target: Target, name: str) -> Any:
    from tfg_jax.config import from_dict
    from tfg_jax.declare import with_flags

    if name in UNGUIDED:
        return None
    settings = {**entry.settings.get(name, {}), **target.settings.get(name, {})}
    preset = presets_of(entry).get(name)
    try:
        if preset is None or "type" in settings:
            return from_dict(settings)
        return with_flags(preset, settings) if settings else preset
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise Unfit(f"task {entry.name!r:.40}: settings.{name}: {str(error)[:300]}") from None
