"""Files that are complete or absent, and JSON that any parser reads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfg_jax.kinds import public


def write_atomically(file: Path, write: Callable[[BinaryIO], Any], shared: bool = False) -> str:
    """Write a file that appears under its name only when it is complete and durable.

    Args:
        file: the final path; a file of that name is replaced in one step.
        write: called with the open temporary file.
        shared: other processes may write the same file at the same time.
    Returns:
        The SHA-256 of the content, in hexadecimal.
    Raises:
        OSError: from the file system; the temporary file is removed and `file` is as it was.
    """
    temporary = file.with_name(f"{file.name}{'.' + secrets.token_hex(4) if shared else ''}.tmp")
    try:
        with temporary.open("w+b") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name itself must survive a power cut
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return digest


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file so that readers see the old one or the whole new one; creates missing parent folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(data))
    return path


@public
def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write JSON with sorted keys, atomically; see `to_builtins` for what is accepted."""
    return write_bytes(path, (to_json(value) + "\n").encode())


def to_json(value: Any) -> str:
    """Indented JSON with sorted keys and no NaN; see `to_builtins`."""
    return json.dumps(to_builtins(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def to_builtins(value: Any) -> Any:
    """Value as JSON types: numbers that are not finite become null, arrays lists, dataclasses and mappings objects.

    Raises ValueError for anything else, such as a function, rather than writing text nobody can read back.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_builtins(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_builtins(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return to_builtins(asdict(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic) or (hasattr(value, "tolist") and hasattr(value, "dtype")):
        return to_builtins(np.asarray(value).tolist())
    raise ValueError(
        f"value of type {type(value).__name__} cannot be written as JSON; pass numbers, text, lists or dicts."
    )


def read_json(file: Path) -> Any:
    """The value of a JSON file; None if it is missing or cannot be read."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def slug(name: str) -> str:
    """The name of a row of a table as that of a file: "tfg, n_recur 4" is "tfg-n_recur-4"."""
    return name.replace(", ", "-").replace(" ", "-")
