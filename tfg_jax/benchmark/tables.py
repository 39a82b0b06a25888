"""Tables of a TOML file as dataclasses: every key and value is checked by the annotations of the fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterable
from typing import Any

from tfg_jax.benchmark.suite import Suite, Target

MOST = 10_000_000
WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


KEYS = {"tasks": "task", "needs": "need"}
"""Fields that a file writes as tables one behind the other, [[task]] and [[need]]."""


class Unfit(Exception):
    """What is wrong with a suite, and where."""


def suite_of(values: Any) -> Suite:
    """The suite of a file's table, whose values are not checked against each other yet. Raises `Unfit`."""
    return _table(Suite, values, "")


def _table(cls: Any, values: Any, at: str) -> Any:
    if not isinstance(values, dict):
        raise Unfit(f"{at}={values!r:.60} must be a table")
    hints = typing.get_type_hints(cls)
    fields = {KEYS.get(f.name, f.name): f for f in dataclasses.fields(cls) if not (cls is Suite and f.name == "name")}
    here = f"{at} {values['name']!r:.40}: " if isinstance(values.get("name"), str) else f"{at}: " if at else ""
    for key in values:
        if key not in fields:
            raise Unfit(f"{here}{key:.40} is no key; there are {', '.join(fields)}")
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in values:
            raise Unfit(f"{here}{key} is missing")
    names = {key: fields[key].name for key in values}
    return cls(**{name: _value(hints[name], values[key], f"{here}{key}") for key, name in names.items()})


def _value(hint: Any, value: Any, at: str) -> Any:
    parts = typing.get_args(hint)
    if hint is Any:
        return value
    if hint is Target:
        return _target(value, at)
    if dataclasses.is_dataclass(hint):
        return _table(hint, value, at)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise Unfit(f"{at}={value!r:.60} must be a list")
        return tuple(_value(parts[0], each, at) for each in value)
    if len(parts) == 2 and parts[0] is str:  # a mapping
        if not isinstance(value, dict):
            raise Unfit(f"{at}={value!r:.60} must be a table")
        return {key: _value(parts[1], each, f"{at}.{key}") for key, each in value.items()}
    kinds = parts or (hint,)
    if type(value) is int and float in kinds and int not in kinds and abs(value) < MOST:
        value = float(value)
    if type(value) not in kinds:
        raise Unfit(f"{at}={value!r:.60} must be {' or '.join(WORDS[each] for each in kinds)}")
    return value


def _target(value: Any, at: str) -> Target:
    """What is asked for alone, or a table of it with settings."""
    table = value if isinstance(value, dict) else {"request": value}
    if "request" not in table:
        raise Unfit(f"{at} holds a table without request")
    request = table["request"] if isinstance(table["request"], list) else [table["request"]]
    settings = {key: each for key, each in table.items() if key not in ("request", "trust")}
    for key, each in settings.items():
        if not isinstance(each, dict):
            raise Unfit(f"{at}.{key}={each!r:.60} must be a table of settings")
    wanted = tuple(_value(int | str, each, f"{at}.request") for each in request)  # type: ignore[arg-type]
    return Target(wanted, settings, _value(str, table.get("trust", ""), f"{at}.trust"))


def one_of(what: str, value: Any, known: Collection[str]) -> None:
    """Raise `Unfit` unless a word is known."""
    if value not in known:
        raise Unfit(f"{what}={value!r:.60} is unknown; choose of {', '.join(filter(None, known)) or 'none'}")


def folder_name(what: str, name: str, most: int = 1) -> None:
    """Raise `Unfit` unless a name can be that of a folder, or with slashes that of at most ``most`` in each other."""
    parts = name.replace("\\", "/").split("/")
    right = name.isprintable() and len(name) <= 80 and len(parts) <= most
    if not right or any(not each or each.strip(" .") != each for each in parts):
        raise Unfit(f"{what}={name!r:.60} cannot name a folder; give a short word")


def unique(what: str, names: Iterable[Any]) -> None:
    """Raise `Unfit` for a name that appears twice."""
    seen = set()
    for name in names:
        if name in seen:
            raise Unfit(f"{what} {name!r:.60} appears twice")
        seen.add(name)


def counted(what: str, value: int, low: int = 1) -> None:
    """Raise `Unfit` for a count out of range."""
    if not low <= value <= MOST:
        raise Unfit(f"{what}={value} must be {low} or more" if value < low else f"{what}={value} is too many")
