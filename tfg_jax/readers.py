"""Reading what others may have written: bounded in bytes, depth and memory, with one kind of error.

Whatever a file holds, a reader returns plain data or raises ValueError (FileNotFoundError where there is no file) that
names the file and the fix. Nothing is executed, and nothing is allocated that the file's own size does not justify.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import tokenize
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

MAX_JSON_BYTES, MAX_TOML_BYTES = 64 * 2**20, 2**20
MAX_ARRAYS = 64
MAX_HEADER_BYTES = 2**16
# Arrays of pixels or labels shrink a few dozen times; what unpacks to more than this is made to fill the memory.
MAX_RATIO, FREE_BYTES = 200, 64 * 2**20
# Of a zip archive or .npy header that is cut, altered, encrypted, or that claims a size no machine has.
READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, OSError, ValueError, TypeError,
    KeyError, IndexError, AttributeError, RuntimeError, MemoryError, OverflowError, SyntaxError,
)  # fmt: skip


def check_file(name: str, file: Path) -> None:
    """Raise unless ``file`` is a regular file: reading a pipe or a device might never end."""
    if not file.exists():
        raise FileNotFoundError(f"{name}={file} does not exist; check the path")
    if not file.is_file():
        raise ValueError(f"{name}={file} is no regular file; give one that can be read to its end")


def read_bytes(file: Path, limit: int) -> bytes | None:
    """The bytes of a file; None if there are more than ``limit``, of which no more is read than tells that."""
    with file.open("rb") as stream:
        # A read allocates what it is asked for, so it is asked for no more than there seems to be.
        data = stream.read(min(os.fstat(stream.fileno()).st_size, limit) + 1)
    return None if len(data) > limit else data


def parse_json(text: str | bytes, unique: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON, UTF-8 where it is bytes.
        unique: refuse objects that give a key twice.

    Raises:
        ValueError: no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique if unique else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def load_json(name: str, file: Path) -> Any:
    """The value of a JSON file; ``name`` is the argument that gave it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no regular file, larger than 64 MiB, or no JSON.
    """
    data = _bounded(name, file, MAX_JSON_BYTES)
    try:
        return parse_json(data)
    except ValueError as error:
        raise ValueError(f"{name}={file} is not JSON ({error}); write it anew") from None


def load_toml(name: str, file: Path) -> dict[str, Any]:
    """The table of a TOML file; ``name`` is the argument that gave it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no regular file, larger than 1 MiB, or no TOML.
    """
    data = _bounded(name, file, MAX_TOML_BYTES)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"{name}={file} is not TOML ({why}); mend it") from None


def _bounded(name: str, file: Path, limit: int) -> bytes:
    check_file(name, file)
    data = read_bytes(file, limit)
    if data is None:
        raise ValueError(f"{name}={file} is larger than {limit} bytes; it is refused unread")
    return data


def load_npz(
    name: str, file: Path, keys: Iterable[str] | None = None, limit: int | None = None
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name; ``name`` is the argument that gave it.

    Args:
        name: for messages.
        file: the archive, as `numpy.savez` or `numpy.savez_compressed` writes it.
        keys: read these alone, where they are there; None reads all.
        limit: bytes it may unpack to; None is 200 times the size of the file, but at least 64 MiB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no regular file, damaged, no arrays of numbers or text, or made to unpack to far more than its size.
    """
    check_file(name, file)
    limit = max(FREE_BYTES, MAX_RATIO * file.stat().st_size) if limit is None else limit
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            wanted = list(members) if keys is None else [key for key in keys if key in members]
            unpacked = sum(members[key].file_size for key in wanted)
            if not 0 < len(members) <= MAX_ARRAYS or unpacked > limit:
                raise _Unfit(f"would unpack to {len(members)} arrays and {unpacked} bytes; split it")
            return {key: _read_member(archive, members[key], key) for key in wanted}
    except _Unfit as unfit:
        raise ValueError(f"{name}={file} {unfit}") from None
    except READ_ERRORS as error:
        raise ValueError(f"{name}={file} is damaged ({type(error).__name__}); copy it again or write it anew") from None


class _Unfit(Exception):
    """What is wrong with an archive, and the fix, for a message that begins with its name."""


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, key: str) -> np.ndarray:
    with archive.open(member) as stream:
        shape, dtype, start = _npy_header(stream, key)  # type: ignore[arg-type]
    if dtype.hasobject:
        raise _Unfit(
            "holds Python objects; save arrays of numbers with numpy.savez, they are read with allow_pickle=False"
        )
    # numpy allocates what the header claims before it reads.
    if start + math.prod(shape) * dtype.itemsize != member.file_size:
        raise _Unfit(f"is damaged ({key} is not as large as its header says); copy it again or write it anew")
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)


def _npy_header(stream: io.BufferedIOBase, key: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of a .npy stream, and where its data begin."""
    try:
        version = np.lib.format.read_magic(stream)
    except ValueError:
        raise _Unfit(f"holds {key} as a file that is no array; write it with numpy.savez") from None
    read: Callable = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
    }[version]  # fmt: skip
    shape, _, dtype = read(stream, max_header_size=MAX_HEADER_BYTES)
    return shape, dtype, stream.tell()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)
