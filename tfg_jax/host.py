"""Settings of the host process for CPU runs, used by the command line and the scripts, never on import."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for reuse instead of returning it to the system.

    XLA on CPU frees its buffers after every step; fetching them anew costs a page fault per 4 KiB, which was more than
    half the time of a training step on two cores. Does nothing (and returns False) without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**26), (MMAP_THRESHOLD, 2**30), (ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in settings])


OFF = ("", "0", "off", "no", "none", "false")
"""Values of $TFG_JAX_CACHE that keep no compiled programs."""

SHORTEST, LARGEST = 0.2, 2 * 2**30
"""Seconds of compilation from which a program is kept, and bytes of all that are kept; the least used go first."""


class ProgramCache(NamedTuple):
    """Where compiled programs are kept between runs: the folder, None if nowhere, and who decided so or why not."""

    folder: Path | None
    why: str


def program_cache() -> ProgramCache:
    """As `keep_programs` uses it: $JAX_COMPILATION_CACHE_DIR, $TFG_JAX_CACHE/xla or xla in the user's cache folder."""
    if (given := os.environ.get("JAX_COMPILATION_CACHE_DIR")) is not None:
        return ProgramCache(Path(given) if given else None, "$JAX_COMPILATION_CACHE_DIR")
    own = os.environ.get("TFG_JAX_CACHE")
    if own is not None and own.strip().lower() in OFF:
        return ProgramCache(None, f"turned off by $TFG_JAX_CACHE={own}")
    try:
        folder = (_user_caches() / "tfg_jax" if own is None else Path(own).expanduser()) / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home is known
        return ProgramCache(None, f"no folder can be made for it ({error})")
    why = "the user's cache folder" if own is None else "$TFG_JAX_CACHE"
    return ProgramCache(folder, why) if writable else ProgramCache(None, f"{folder} cannot be written")


def keep_programs() -> None:
    """Let JAX keep what it compiles between runs, in `program_cache`; what the user's environment says of it holds.

    A folder that $JAX_COMPILATION_CACHE_DIR names is not limited: it holds what other programs keep, and JAX cannot
    limit one whose entries were written without a limit.
    """
    folder, _ = program_cache()
    jax = sys.modules.get("jax")
    if folder is None or (jax is not None and jax.config.jax_compilation_cache_dir):
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": SHORTEST,
    }
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        _drop_unfinished(folder)
        settings["jax_compilation_cache_max_size"] = LARGEST
    for name, value in settings.items():
        if name.upper() not in os.environ:
            if jax is not None:
                jax.config.update(name, value)
            else:  # read when it is imported, which a command without a program need not wait for
                os.environ[name.upper()] = str(value)


def _drop_unfinished(folder: Path) -> None:
    """Delete entries without a time of use: JAX was killed as it wrote them, and would never write one again beside."""
    with contextlib.suppress(OSError):
        names = {entry.name for entry in folder.iterdir()}
        for name in names:
            if name.endswith("-cache") and f"{name.removesuffix('-cache')}-atime" not in names:
                (folder / name).unlink(missing_ok=True)


def _user_caches() -> Path:
    """Of the platform."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    return Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
