"""Configurations of networks as JSON: every value is checked before a network is built from it.

Messages name the key (`network.side` is the key side inside network), its value and the fix.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

FIX = "correct it or export the weights again"
MAX_COUNT, MAX_NUMBER = 2**31 - 1, float(np.finfo(np.float32).max)


class NetworkConfig:
    """What configurations of networks inherit, which are plain frozen dataclasses: static, hashable, never traced."""

    @property
    def num_layers(self) -> int:
        """Lower bound of the network's arrays, so that a file cannot ask for a network that takes forever to build."""
        return 0

    def validate(self) -> None:
        """Raise ValueError naming the first field that is out of range or does not fit the others."""

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON values, so that `from_dict` gives the same configuration back."""
        values: Any = self
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(values).items()}

    @classmethod
    def from_dict(cls, values: Any, name: str | None = None) -> Any:
        """The configuration of `to_dict` or of parsed JSON; keys that start with "_" (diffusers' notes) are ignored.

        Raises ValueError, calling the configuration `name`, if a key is unknown or its value of another type.
        """
        name, kind = name or cls.__name__, typing.cast(Any, cls)
        need(name, values, isinstance(values, Mapping), f"an object with the fields of {cls.__name__}")
        hints, fields = typing.get_type_hints(cls), [field.name for field in dataclasses.fields(kind)]
        given = {key: value for key, value in values.items() if not key.startswith("_")}
        for key, value in given.items():
            if key not in fields:
                raise ValueError(f"{name} has no field {key!r}; its fields are {', '.join(fields)}")
            words = hints[key].__name__ if isinstance(hints[key], type) else str(hints[key]).replace("tuple", "list")
            need(f"{name}.{key}", value, _fits(value, hints[key]), f"of type {words}")
        config = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})
        config.validate()
        return config


def need(key: str, value: Any, right: bool, words: str) -> None:
    """ValueError that ``key`` must be ``words``, unless it is ``right``."""
    if not right:
        text = repr(value)
        raise ValueError(f"{key}={text if len(text) <= 60 else text[:57] + '...'} must be {words}; {FIX}")


def need_positive(config: Any, **low: int) -> None:
    """ValueError unless every number of ``config``, or of a tuple in it, is >= its ``low``, by default above 0."""
    for field in dataclasses.fields(config):
        value, least = getattr(config, field.name), low.get(field.name)
        right = all(each > 0 if least is None else each >= least for each in np.atleast_1d(value))
        need(field.name, value, right, "above 0" if least is None else f"{least} or more")


def need_choice(key: str, value: Any, choices: Iterable[str]) -> None:
    """ValueError unless ``value`` is one of ``choices``."""
    need(key, value, value in list(choices), f"one of {', '.join(choices)}")


def need_name(values: Mapping[str, Any]) -> str:
    """The text under "name"."""
    need("name", values["name"], isinstance(values["name"], str), "a text")
    return values["name"]


def need_shape(value: Any) -> tuple[int, ...]:
    """The shape of one sample."""
    right = isinstance(value, list) and bool(value) and all(is_count(side) for side in value)
    need("shape", value, right, "a list of positive integers, such as [height, width, channels]")
    return tuple(value)


def is_count(value: Any, low: int = 1) -> bool:
    """Whether a JSON value is an integer >= ``low``; a boolean is none."""
    return type(value) is int and low <= value <= MAX_COUNT


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the type of a field; lists stand for tuples."""
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if typing.get_origin(hint) is tuple:
        right = isinstance(value, list | tuple) and (parts[-1] is ... or len(value) == len(parts))
        return right and all(_fits(entry, parts[0]) for entry in value)
    if hint is int:
        return is_count(value, -MAX_COUNT)
    return is_number(value) if hint is float else type(value) is hint
