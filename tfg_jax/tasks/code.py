"""What tells one function of a user's from another: its text, and what is bound in it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from tfg_jax.runs.record import fingerprint


def code_hash(function: Any) -> str:
    """SHA-256 of the text of a function, or of the class of an object, and of what is bound in it: arguments of a
    `functools.partial`, defaults, what a closure holds, attributes. Of no text where that is not known."""
    return _hash(function, ())


def wiring_hash(value: Any) -> str:
    """SHA-256 of a network with all that is not its weights, too: schedule, prediction, the text of its functions."""
    return hashlib.sha256(_told(value, ()).encode()).hexdigest()


def _hash(function: Any, outer: tuple[int, ...]) -> str:
    """``outer`` are the functions around it, which closures may hold again."""
    within = (*outer, id(function))
    if isinstance(function, functools.partial):
        text, bound = _hash(function.func, within), [*enumerate(function.args), *sorted(function.keywords.items())]
    else:
        plain = inspect.unwrap(function) if callable(function) else function
        try:
            text = inspect.getsource(plain if inspect.isroutine(plain) else type(plain))
        except (OSError, TypeError):
            text = ""
        bound = [*_bound(plain)]
    told = "".join(f"\n{name} = {_told(value, within)}" for name, value in bound)
    return hashlib.sha256(f"{text}{told}".encode()).hexdigest()


def _bound(function: Any) -> Iterator[tuple[Any, Any]]:
    if inspect.ismethod(function):
        yield from _bound(function.__self__)
        function = function.__func__
    if inspect.isfunction(function):
        yield from enumerate(function.__defaults__ or ())
        yield from sorted((function.__kwdefaults__ or {}).items())
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells if _filled(cell))
    elif not inspect.isroutine(function):
        yield from sorted(getattr(function, "__dict__", {}).items())


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (raises)
    except ValueError:
        return False
    return True


def _told(value: Any, outer: tuple[int, ...]) -> str:
    """The same text in every process; of what has none, its type."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if id(value) in outer:
        return "itself"
    within = (*outer, id(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(_told(each, within) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_told(each, within)}' for key, each in value.items())}}}"
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if inspect.isclass(value) or inspect.ismodule(value):
        return getattr(value, "__qualname__", value.__name__)
    if inspect.isroutine(value) or isinstance(value, functools.partial) or hasattr(value, "__wrapped__"):
        return _hash(value, outer)
    if dataclasses.is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{name} {_told(own, within)}"
    leaves = jax.tree.leaves(value)
    return f"{name} {fingerprint(leaves)}" if leaves and all(hasattr(leaf, "dtype") for leaf in leaves) else name
