"""Files that are complete or absent, and a folder that one process writes at a time."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

LOCK = "lock"
# A lock is created and filled within milliseconds; an unreadable one older than this belongs to a killed process.
LOCK_SECONDS = 10.0


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


def lock(folder: Path) -> None:
    """Create the lock file of `folder`, or take over that of a process of this host that is no more.

    Raises:
        ValueError: if another process holds it, or one of another host, of which nothing can be known.
        OSError: if the folder cannot be written.
    """
    file, aside = folder / LOCK, folder / f"{LOCK}.{os.getpid()}"
    held = b""
    for _ in range(3):
        try:
            with file.open("x") as out:
                json.dump({"host": socket.gethostname(), "pid": os.getpid(), "start": _start(os.getpid())}, out)
            return
        except FileExistsError:
            pass
        try:
            held = file.read_bytes()
            if not _abandoned(held, time.time() - file.stat().st_mtime):
                break
            # Moved aside rather than deleted: if another process took it over just now, its lock is put back.
            os.replace(file, aside)
            if aside.read_bytes() != held:
                os.replace(aside, file)
                break
            aside.unlink()
        except FileNotFoundError:
            pass  # given back or taken over in the meantime: try again
    raise ValueError(
        f"path={folder} is being written by another process ({held.decode(errors='replace')[:120]}); "
        f"wait for it, or delete {file} if it is gone"
    )


def unlock(folder: Path) -> None:
    """Give back the lock of `folder`."""
    (folder / LOCK).unlink(missing_ok=True)


def _abandoned(held: bytes, age: float) -> bool:
    """True if the holder ran on this host and is dead, or died before it could say who it was."""
    try:
        holder = json.loads(held)
        return holder["host"] == socket.gethostname() and holder["start"] != _start(holder["pid"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return age > LOCK_SECONDS


def _start(pid: int) -> str:
    """When a process started, as far as the system tells, since its number may be used again; "dead" if it is not."""
    if os.name != "posix":
        return "alive"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "dead"
    except PermissionError:
        pass  # alive, of another user
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Field 22 of stat, counted behind the bracket that closes the command, which may hold spaces itself.
        return f"{boot}/{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return "alive"
