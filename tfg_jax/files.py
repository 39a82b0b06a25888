"""Files that are complete or absent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(file: Path, write: Callable[[BinaryIO], Any]) -> str:
    """Write a file that appears under its name only when it is complete and durable.

    Args:
        file: the final path; a file of that name is replaced in one step.
        write: called with the open temporary file.
    Returns:
        The SHA-256 of the content, in hexadecimal.
    Raises:
        OSError: from the file system; the temporary file is removed and `file` is as it was.
    """
    temporary = file.with_name(file.name + ".tmp")
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


def read_json(file: Path) -> Any:
    """The value of a JSON file; None if it is missing or cannot be read."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def slug(name: str) -> str:
    """The name of a row of a table as that of a file: "tfg, n_recur 4" is "tfg-n_recur-4"."""
    return name.replace(", ", "-").replace(" ", "-")
