"""Atomic writes and strict JSON: a report is either complete or absent, and any JSON parser can read its numbers."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.files import write_atomically
from tfg_jax.kinds import public


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file so that readers see the old one or the whole new one; creates missing parent folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(data))
    return path


@public
def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write JSON with sorted keys, atomically; see `plain` for what is accepted."""
    return write_bytes(path, (to_json(value) + "\n").encode())


def to_json(value: Any) -> str:
    """Indented JSON with sorted keys and no NaN; see `plain`."""
    return json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Value as JSON types: numbers that are not finite become null, arrays lists, dataclasses and mappings objects.

    Raises ValueError for anything else, such as a function, rather than writing text nobody can read back.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic) or (hasattr(value, "tolist") and hasattr(value, "dtype")):
        return plain(np.asarray(value).tolist())
    raise ValueError(
        f"value of type {type(value).__name__} cannot be written as JSON; pass numbers, text, lists or dicts."
    )
