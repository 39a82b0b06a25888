"""Command-line flags of a configuration, read off its declaration."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from tfg_jax.checks import is_concrete
from tfg_jax.declare.fields import Declared, Field, describe

SIMPLE = (int, float, str, bool)


def flags_of(config: Any) -> type:
    """A dataclass whose fields are the settings of a configuration, with help, for `tyro`.

    Its defaults are those of ``config``, an object or a class whose fields all have defaults. Numbers become floats,
    counts ints, choices the same ``Literal``; a configuration inside becomes a dataclass of its own; what no command
    line can hold (functions, optimizers, arrays) is left out.

    Args:
        config: a declared object or class.
    """
    cls, values = (config, None) if isinstance(config, type) else (type(config), config)
    fields = []
    for field in describe(cls):
        default = field.default if values is None else getattr(values, field.name)
        if (kind := _flag_type(field, default)) is not None:
            if isinstance(default, Declared):
                fields.append((field.name, kind, dataclasses.field(default_factory=kind)))
            else:
                fields.append((field.name, Annotated[kind, _help(field)], _python_value(default)))
    flags = dataclasses.make_dataclass(cls.__name__, fields, frozen=True, kw_only=True)
    flags.__doc__ = (cls.__doc__ or cls.__name__).strip().partition("\n")[0]
    return flags


def with_flags(config: Any, values: Any) -> Any:
    """``config`` with the settings that an object of its `flags_of`, or a mapping, gives.

    Raises:
        ValueError: a setting that it does not have, or one out of range.
    """
    given = values
    if not isinstance(values, Mapping):
        given = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    known = {field.name: field for field in describe(type(config))}
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{type(config).__name__} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    inside = {name: getattr(config, name) for name in given}
    new = {
        name: with_flags(inside[name], value) if isinstance(inside[name], Declared) and not _is_whole(value) else value
        for name, value in given.items()
    }
    return dataclasses.replace(config, **new)


def _is_whole(value: Any) -> bool:
    """Whether a value takes the place of a configuration, and is not settings of it."""
    return value is None or isinstance(value, Declared)


def _flag_type(field: Field, default: Any) -> Any:
    """The type of a field on the command line; None where it has none."""
    if default is dataclasses.MISSING:
        default = None
    optional = field.optional or default is None
    kind: Any = None
    match field.spec.kind:
        case "number" if default is None or (np.ndim(default) == 0 and is_concrete(default) and not callable(default)):
            kind = float
        case "count":
            kind = int
        case "choice":
            kind = typing.Literal[field.options] if field.options else str
        case "static":
            kind = field.spec.flag or (field.annotation if field.annotation in SIMPLE else None)
        case "child" if isinstance(default, Declared):
            return flags_of(default)
    return None if kind is None else kind | None if optional else kind


def _python_value(default: Any) -> Any:
    if default is dataclasses.MISSING:
        return None
    return np.asarray(default).item() if hasattr(default, "dtype") else default


def _help(field: Field) -> Any:
    import tyro

    words = [field.spec.help] if field.spec.help else []
    words += [field.range] if field.range and not field.options else []
    return tyro.conf.arg(help=", ".join(words))
