"""The one claim on a folder of results: made if missing, held by one process, known by the configuration in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfg_jax.files import write_atomically
from tfg_jax.locks import LOCK, lock
from tfg_jax.old_names import OLD_KEYS
from tfg_jax.readers import load_json
from tfg_jax.runs.values import refuse_url

NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class Kind:
    """A kind of folder: what it may hold and by what it is known.

    Attributes:
        own: names of its files and folders, besides the record and locks: these alone are ever deleted.
        owns: whether a folder of any other name is its own.
        leftover: names of what a killed writer leaves behind.
        record: file of its configuration.
        recorded: whether a claim writes it; else the caller does, with more in it.
        read: what it says; raises ValueError, KeyError or TypeError if it is damaged.
        alone: whether files of another origin are refused.
        noun, other, fix: words of messages.
    """

    own: re.Pattern[str] = NOTHING
    owns: Callable[[Path], bool] = lambda entry: False
    leftover: re.Pattern[str] = NOTHING
    record: str = "config.json"
    recorded: bool = True
    read: Callable[[Path], Mapping[str, Any]] = lambda file: dict(load_json("config", file))
    alone: bool = True
    noun: str = "results"
    other: str = "another configuration"
    fix: str = "pass overwrite=True"


RESULTS = Kind(recorded=False, other="other results", read=lambda file: dict(load_json("config", file)["options"]))
"""Results of a command, known by the options in its config.json."""


def claim(
    path: Path, config: Mapping[str, Any], kind: Kind, *, overwrite: bool = False, free: Iterable[str] = (),
    take: Callable[[Path], Any] = lock, tidy: bool = True,
) -> tuple[Any, Mapping[str, Any] | None]:  # fmt: skip
    """Take a folder for one configuration; release the lock to give it back.

    Args:
        path: the folder.
        config: JSON values that it is known by.
        kind: what it may hold.
        overwrite: forget the kind's own files that are there.
        free: keys that may differ.
        take: gives the lock of the folder.
        tidy: delete what killed writers left behind; there must be no other living one.
    Returns:
        The lock, and what the folder's record said; None if it was new or is overwritten.
    Raises:
        ValueError: it holds another configuration (the differing keys are named), a damaged record or files of another
            origin, is written by another process, or cannot be written.
    """
    refuse_url("path", path)
    file = path / kind.record
    try:
        path.mkdir(parents=True, exist_ok=True)
        _check_files(path, kind, overwrite)
        right = take(path)
    except OSError as error:
        raise ValueError(f"path={path} is no writable folder ({error.strerror}); choose another") from error
    try:
        if tidy:
            _clear(path, kind, overwrite)
        known = None
        if file.exists() and not overwrite:
            known = read_record(path, kind.record, lambda: kind.read(file), kind.fix)
            check_same(path, known, json.loads(json.dumps(config)), set(free), kind)
        elif kind.recorded:
            text = json.dumps(config, indent=2, sort_keys=True) + "\n"
            write_atomically(file, lambda out: out.write(text.encode()))
    except BaseException:
        right.release()
        raise
    return right, known


def _check_files(path: Path, kind: Kind, overwrite: bool) -> None:
    """ValueError for files of another origin, or for files of this kind without their record."""
    names = sorted(entry.name for entry in path.iterdir() if not re.fullmatch(rf"{LOCK}(\..+|s)?", entry.name))
    names = [name for name in names if not kind.leftover.fullmatch(name)]
    if kind.record in names or (overwrite and not kind.recorded):
        return
    if kind.alone and (foreign := [name for name in names if not is_own(path, kind, name)]):
        raise ValueError(f"path={path} holds other files ({', '.join(foreign[:3])}); choose a new folder")
    if not overwrite and any(is_own(path, kind, name) for name in names):
        raise ValueError(f"path={path} holds {kind.noun} but no {kind.record}; {kind.fix} to begin again")


def is_own(path: Path, kind: Kind, name: str) -> bool:
    """Whether a file or folder of this name is of a kind."""
    return bool(kind.own.fullmatch(name)) or kind.owns(path / name)


def _clear(path: Path, kind: Kind, everything: bool) -> None:
    """Delete what a killed writer left behind; with ``everything`` the kind's own files too. The record goes later."""
    entries = sorted(path.iterdir(), key=lambda entry: not kind.leftover.fullmatch(entry.name))  # renamed over below
    inner = [file for entry in entries if kind.owns(entry) for file in entry.iterdir()]
    for entry in [*(file for file in inner if kind.leftover.fullmatch(file.name)), *entries]:
        if kind.leftover.fullmatch(entry.name) or (everything and is_own(path, kind, entry.name)):
            if entry.is_dir():
                # Renamed first: a half-deleted folder must not look whole.
                shutil.rmtree(entry.replace(entry.with_suffix(".tmp")))
            else:
                entry.unlink()


def read_record(name: str | Path, record: str, read: Callable[[], Any], fix: str = Kind.fix) -> Any:
    """What the record of a folder says; ValueError if it is damaged."""
    try:
        return read()
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"{record} of path={name} is damaged or of another format; delete the folder or {fix} to begin again"
        ) from None


def check_same(
    name: str | Path, there: Mapping[str, Any], wanted: Mapping[str, Any], free: set[str], kind: Kind | None = None
) -> None:
    """ValueError, which names what differs, unless two records are the same but for the keys that are free."""
    kind = Kind() if kind is None else kind
    sides = (_renamed(there), wanted)
    old, new = (_flat({key: value for key, value in each.items() if key not in free}) for each in sides)
    differ = [
        f"{key:.60}: {_shown(key, old.get(key))} -> {_shown(key, new.get(key))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if differ:
        raise ValueError(
            f"path={name} holds {kind.other} ({'; '.join(differ[:5])}); choose another folder or {kind.fix}"
        )


def _shown(key: str, text: str | None) -> str:
    """JSON text, or None, as a message shows it: of a hash no more than tells it from another."""
    return f"{text!s:.9}" + '..."' if text and key.endswith("sha256") and len(text) > 20 else f"{text!s:.60}"


def _renamed(value: Any) -> Any:
    """With the keys that are called otherwise today, at any depth."""
    if isinstance(value, Mapping):
        return {OLD_KEYS.get(key, key): _renamed(inner) for key, inner in value.items()}
    return value


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested dicts as dotted keys, every value as JSON text, so that 1 and true or a missing key and null differ."""
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}".lstrip(".")).items()}
    return {prefix.removeprefix("config."): json.dumps(value, sort_keys=True)}
