"""Configurations to and from JSON: everything that is declared, nested as it is.

    {"type": "TFG", "rho": 1.0, "mu": 0.25, "n_iter": 4, ...}
    {"type": "CFG", "model": {"given": "model"}, "w": 1.5, ...}           a network is given back when it is read
    {"type": "mymodule:Mine", ...}                                        a class of your own, read if you allow it

Nothing in a file is executed: a class outside the library is looked up only in modules that the caller names.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree

from tfg_jax.declare import Declared, describe
from tfg_jax.kinds import public
from tfg_jax.networks import is_array
from tfg_jax.per_sample import PerSample
from tfg_jax.readers import parse_json

INFINITE = {"inf": np.inf, "-inf": -np.inf}


@public
def to_json(config: Any, indent: int | None = None) -> str:
    """A configuration object as JSON text.

    Raises:
        ValueError: the object, or something in it, is not a configuration class, a number, text or an array.
    """
    return json.dumps(to_dict(config), indent=indent, allow_nan=False)


@public
def from_json(text: str, *, allow: Collection[str] = (), **given: Any) -> Any:
    """The configuration object of a JSON text made by `to_json` or written by hand.

    Args:
        text: the JSON.
        allow: modules of your own, whose classes the text may name as ``"module:Class"``; they are imported.
        **given: what the text names as given: the model of a transform, ``model=``, the weaker one of `Autoguidance`,
            ``weak=``, ...

    Raises:
        ValueError: not JSON, an unknown type, a field the type does not have, or something given that is missing or not
            asked for; the message lists what there is.
    """
    try:
        data = parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"configuration is not JSON (line {error.lineno}: {error.msg}); check quotes and commas"
        ) from None
    except ValueError as error:
        raise ValueError(f"configuration is not JSON ({error}); check quotes and commas") from None
    try:
        config = from_dict(data, allow=allow, given=given)
    except RecursionError:
        raise ValueError("configuration is nested too deeply; flatten it") from None
    except OverflowError as error:
        raise ValueError(f"configuration holds a number out of range ({error}); mend it") from None
    if unused := sorted(set(given) - _asked(data)):
        raise ValueError(f"{unused[0]} has no effect, the configuration asks for {sorted(_asked(data)) or 'nothing'}")
    return config


def to_dict(config: Any) -> Any:
    """As `to_json`, to dicts, lists, numbers and text."""
    return _written(config, "", {})


def _written(config: Any, given: str, models: dict[str, Any]) -> Any:
    """``given`` is what a network here is called; ``models`` are those that are called something already."""
    if name := name_of(type(config)):
        fields: dict[str, Any] = {"type": name}
        for field in describe(type(config)):
            value = getattr(config, field.name)
            inner = given if field.name == "model" and given else field.name
            network = field.spec.kind == "child" and callable(value)
            fields[field.name] = _written(value, inner if network else "", models)
        return fields
    if config is None or isinstance(config, bool | int | str):
        return config
    if isinstance(config, float):
        return config if np.isfinite(config) or np.isnan(config) else str(config)
    if isinstance(config, tuple | list):
        return [_written(part, given, models) for part in config]
    if is_array(config):
        # JSON has no -inf, with which a table without signal at its end ends.
        values: Any = np.asarray(config)
        data = values.tolist()
        if values.ndim == 0:
            return _written(data, "", models)
        return [*data[:-1], None] if values.ndim == 1 and data and data[-1] == -np.inf else data
    if given:
        if models.setdefault(given, config) is not config:
            raise ValueError(f"two networks are called {given!r}; write their transforms apart")
        return {"given": given}
    raise ValueError(
        f"{type(config).__name__} cannot be written to JSON; use the library's configuration classes and numbers"
    )


def from_dict(data: Any, *, allow: Collection[str] = (), given: Mapping[str, Any] | None = None) -> Any:
    """As `from_json`, from dicts, lists, numbers and text."""
    return _read(data, allow, given or {}, False)


def _read(data: Any, allow: Collection[str], given: Mapping[str, Any], whole: bool) -> Any:
    """``whole`` says whether whole numbers in a list are classes, which stay integers."""
    if isinstance(data, list):
        if len(data) > 1 and data[-1] is None:
            data = [*data[:-1], -np.inf]
        if all(isinstance(part, int | float) for part in data):
            integers = whole and all(isinstance(part, int) for part in data)
            return np.asarray(data, np.int32 if integers else np.float64)
        parts = [_read(part, allow, given, whole) for part in data]
        return np.stack(parts) if all(isinstance(part, np.ndarray) for part in parts) else tuple(parts)
    if not isinstance(data, dict):
        return data
    if isinstance(asked := data.get("given"), str) and len(data) == 1:
        if asked not in given:
            raise ValueError(f"configuration needs {asked}, which no file holds; pass {asked}=...")
        return given[asked]
    rest = dict(data)
    named = rest.pop("type", None) or rest.pop("kind", None)  # "kind" in files before version 0.2
    cls: Any = class_named(named, allow)
    name = str(named)
    fields = {field.name: field for field in describe(cls)}
    renamed = getattr(cls, "renamed", {})  # as files written before version 0.2 call them
    values: dict[str, Any] = {renamed.get(str(key), str(key)): value for key, value in rest.items()}
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"{name} has no field {unknown[0]!r:.60}; it has {', '.join(fields)}")
    whole = whole if cls is PerSample else False
    read: dict[str, Any] = {
        key: INFINITE[value]
        if isinstance(value, str) and value in INFINITE and fields[key].spec.infinite
        else _read(value, allow, given, whole or fields[key].annotation is PyTree)
        for key, value in values.items()
    }
    try:
        return cls(**read)
    except TypeError as error:  # of a field without a default
        lacking = str(error).rpartition(": ")[2]
        raise ValueError(f"{name} lacks a field, {lacking}; it has {', '.join(fields)}") from None


def _asked(data: Any) -> set[str]:
    """What a configuration names as given."""
    if isinstance(data, list):
        return set().union(*map(_asked, data))
    if not isinstance(data, dict):
        return set()
    if isinstance(data.get("given"), str) and len(data) == 1:
        return {data["given"]}
    return _asked(list(data.values()))


def name_of(cls: type) -> str | None:
    """What a configuration class is called in JSON: its public name, ``"module:Class"`` for your own, or None."""
    if cls.__module__.partition(".")[0] != "tfg_jax":
        return f"{cls.__module__}:{cls.__qualname__}" if hasattr(cls, "is_struct") else None
    return cls.__name__ if library_class(cls.__name__) is cls else None


def library() -> Any:
    """The package, whose public names load on first use."""
    return importlib.import_module("tfg_jax")


def library_class(name: str) -> type | None:
    """The library's declared class of a public name; None if there is none."""
    if name not in library().__all__:
        return None
    member = getattr(library(), name)
    known = isinstance(member, type) and (issubclass(member, Declared) or member is PerSample)
    return member if known else None


def public_classes() -> list[type]:
    """The library's public classes, in its own order."""
    members = [getattr(library(), name) for names in library()._NAMES.values() for name in names]
    return [member for member in members if isinstance(member, type)]


def library_classes() -> list[type]:
    """Those that a configuration may name."""
    return [cls for cls in public_classes() if library_class(cls.__name__)]


def class_named(name: Any, allow: Collection[str] = ()) -> type:
    """The configuration class of a name in JSON.

    Raises:
        ValueError: no public class of the library, and no class of a module in ``allow``.
    """
    allowed = (allow,) if isinstance(allow, str) else tuple(allow)
    if isinstance(name, str) and name.partition(":")[0] in allowed and ":" in name:
        return own_class(name)
    cls = library_class(name) if isinstance(name, str) else None
    if cls is None and isinstance(name, str) and ":" in name:
        module = name.partition(":")[0]
        raise ValueError(f"type={name!r:.60} is a class of your own; pass allow=({module!r:.40},) to have it imported")
    if cls is None:
        known = sorted(cls.__name__ for cls in library_classes())
        raise ValueError(f"type={name!r:.60} is unknown; choose one of {', '.join(known)}")
    return cls


def own_class(name: str) -> type:
    """The class ``"module:Class"``, its module imported.

    Raises:
        ValueError: there is none, or it is no `tfg_jax.struct.dataclass`.
    """
    module, _, path = name.partition(":")
    try:
        named: Any = importlib.import_module(module)
        for part in path.split("."):
            named = getattr(named, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"type={name!r:.60} cannot be imported ({error}); check the name and PYTHONPATH") from None
    if not (isinstance(named, type) and hasattr(named, "is_struct")):
        raise ValueError(f"type={name!r:.60} is no configuration; make it a @tfg_jax.struct.dataclass")
    return named


to_plain, from_plain = to_dict, from_dict
"""The old names, which go with the next release."""
