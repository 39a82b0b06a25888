"""Code of the user's by name: `module:name`, `file.py:name`, or a file alone. Only what a person typed is loaded."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

REFERENCE = re.compile(
    r"(?P<file>.+\.py)(:(?P<in_file>[A-Za-z_]\w*))?|(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)"
)


def is_reference(text: str) -> bool:
    """Whether a text names code, as `module:name`, `file.py` or `file.py:name`."""
    return REFERENCE.fullmatch(text) is not None


def resolve(argument: str, text: str, default: str = "") -> Any:
    """What a reference names.

    Args:
        argument: that gave it, for messages.
        text: the reference; modules are looked for in the working directory first.
        default: the name in a file that is named alone.
    Raises:
        ValueError: no reference, no such file, module or name, or code that fails when it is imported.
    """
    match = REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(f"{argument}={text!r:.60} names no code; give module:name or file.py:name")
    name = match["in_file"] or match["name"] or default
    module = _load(argument, text, match)
    if not hasattr(module, name):
        raise ValueError(
            f"{argument}={text} has no {name!r}; define it, or name another as {text.partition(':')[0]}:NAME"
        )
    return getattr(module, name)


FILE_MODULE = re.compile(r"_tfg_jax_[0-9a-f]{12}_(.*)")


def module_named(argument: str, text: str) -> str:
    """The name under which the module of a reference is imported, that of `file.py` made from its path."""
    match = REFERENCE.fullmatch(text)
    if match is None or not match["file"]:
        return text.partition(":")[0]
    return _load(argument, text, match).__name__


def as_typed(name: str) -> str:
    """A module's name, or a class's in it, as a person names it: that of a file by its file."""
    module, colon, rest = name.partition(":")
    return FILE_MODULE.sub(r"\1.py", module) + colon + rest


def called(argument: str, text: str, function: Callable[[], Any]) -> Any:
    """What the user's function or class of a reference gives. ValueError if it fails."""
    try:
        return function()
    except Exception as error:
        raise ValueError(
            f"{argument}={text} fails when it is called ({type(error).__name__}: {error}); mend it"
        ) from error


def given_by(argument: str, text: str, kind: Any, need: str, default: str = "") -> Any:
    """What a reference names, or what it gives when called, of a kind; ValueError with the need if it is of another."""
    value = resolve(argument, text, default)
    if callable(value) and not isinstance(value, kind):
        value = called(argument, text, value)
    if not isinstance(value, kind):
        raise ValueError(f"{argument}={text} is a {type(value).__name__}; {need}")
    return value


def _load(argument: str, text: str, match: re.Match[str]) -> ModuleType:
    try:
        if not match["file"]:
            if "" not in sys.path:
                sys.path.insert(0, "")
            return importlib.import_module(match["module"])
        file = Path(match["file"]).resolve()
        if not file.is_file():
            raise FileNotFoundError(f"{argument}={text} does not exist; check the path")
        own = f"_tfg_jax_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{file.stem}"
        if own not in sys.modules:
            spec: Any = importlib.util.spec_from_file_location(own, file)
            module = importlib.util.module_from_spec(spec)
            sys.modules[own] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[own]
                raise
        return sys.modules[own]
    except FileNotFoundError:
        raise
    except ImportError as error:
        raise ValueError(
            f"{argument}={text} cannot be imported ({error}); check the name and the working directory"
        ) from None
    except Exception as error:
        raise ValueError(
            f"{argument}={text} fails when it is imported ({type(error).__name__}: {error}); mend it"
        ) from error
