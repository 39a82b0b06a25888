"""The file of a program: one file, read without running anything that it holds.

b"tfg_jax program\n"    16 bytes by which it is known
length                  of the header, 8 bytes, the lowest first
SHA-256                 of the header, 32 bytes
header                  JSON: versions, platforms, shapes and dtypes, SHA-256 of the body
body                    the lowered program, zlib; then the arrays it is given, as they lie in memory
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from tfg_jax.files import to_json, write_atomically
from tfg_jax.readers import MAX_JSON_BYTES, READ_ERRORS, check_file, parse_json

MAGIC, SCHEMA = b"tfg_jax program\n", "tfg_jax.program/1"
START = len(MAGIC) + 8 + 32
FIX = "write it again with tfg_jax.aot.save"


class Contents(NamedTuple):
    """What a file holds."""

    header: dict[str, Any]
    program: bytes
    arrays: list[np.ndarray]


def write_program(file: Path, header: Mapping[str, Any], program: bytes, arrays: Sequence[np.ndarray]) -> None:
    """Write a program and its arrays, atomically; the header is told what the body holds."""
    packed = zlib.compress(program, 6)
    body = b"".join([packed, *(np.ascontiguousarray(array).tobytes() for array in arrays)])
    head = {
        "schema": SCHEMA, **header,
        "program": {"bytes": len(packed), "unpacked": len(program)},
        "arrays": [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in arrays],
        "body": {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()},
    }  # fmt: skip
    text = json.dumps(json.loads(to_json(head)), sort_keys=True).encode()
    start = MAGIC + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda out: (out.write(start + text), out.write(body)))


def read_program(file: Path) -> Contents:
    """Read a file and check that it is whole.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another kind or of a newer version, or one that is damaged; the message says which.
    """
    check_file("file", file)
    with file.open("rb") as stream:
        start, size = stream.read(START), os.fstat(stream.fileno()).st_size
        if start[: len(MAGIC)] != MAGIC:
            raise ValueError(f"file={file} is no program of tfg_jax; give one that tfg_jax.aot.save wrote")
        length = int.from_bytes(start[len(MAGIC) : len(MAGIC) + 8], "little")
        text = stream.read(min(length, MAX_JSON_BYTES, size))
        if hashlib.sha256(text).digest() != start[-32:] or len(start) < START:
            raise ValueError(f"file={file} is damaged or cut in its header; {FIX}")
        header: Any = parse_json(text)
        schema = header.get("schema") if isinstance(header, dict) else None
        if schema != SCHEMA:
            raise ValueError(
                f"file={file} is of format {schema!r:.60}, this version reads {SCHEMA!r}; update tfg_jax, or {FIX}"
            )
        body = stream.read()
    try:
        if len(body) != header["body"]["bytes"] or hashlib.sha256(body).hexdigest() != header["body"]["sha256"]:
            raise ValueError("its bytes are not those that were written")
        return Contents(header, *_unpacked(header, body))
    except READ_ERRORS as error:
        raise ValueError(f"file={file} is damaged or cut ({error!s:.100}); {FIX}") from None


def _unpacked(header: Mapping[str, Any], body: bytes) -> tuple[bytes, list[np.ndarray]]:
    at, unpacked = header["program"]["bytes"], header["program"]["unpacked"]
    stream = zlib.decompressobj()
    program = stream.decompress(body[:at], unpacked)
    if len(program) != unpacked or stream.unconsumed_tail:
        raise ValueError("its program has another size than it says")
    arrays = []
    for each in header["arrays"]:
        dtype, count = jnp.dtype(each["dtype"]), math.prod(each["shape"])
        arrays.append(np.frombuffer(body, dtype, count, at).reshape(each["shape"]).copy())
        at += count * dtype.itemsize
    return program, arrays


def to_plain(name: str, tree: Any, lead: int = 0) -> Any:
    """A pytree of arrays as JSON: its structure, with dtype and shape at the leaves, less so many leading axes.

    Raises:
        ValueError: a pytree of other nodes than dictionaries, lists and tuples, which a reader might not know.
    """
    if tree is None:
        return None
    if hasattr(tree, "dtype") and hasattr(tree, "shape"):
        return {"dtype": jnp.dtype(tree.dtype).name, "shape": list(tree.shape[lead:])}
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return {"dict": {key: to_plain(name, each, lead) for key, each in tree.items()}}
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return {type(tree).__name__: [to_plain(name, each, lead) for each in tree]}
    raise ValueError(
        f"{name} holds a {type(tree).__name__}; a program's arrays come in dictionaries of text, lists and tuples"
    )


def from_plain(plain: Any) -> PyTree:
    """The pytree of what `to_plain` gave, with `jax.ShapeDtypeStruct` at its leaves."""
    if plain is None:
        return None
    if "dtype" in plain:
        return jax.ShapeDtypeStruct(tuple(plain["shape"]), jnp.dtype(plain["dtype"]))
    if "dict" in plain:
        return {key: from_plain(each) for key, each in plain["dict"].items()}
    return [*map(from_plain, plain["list"])] if "list" in plain else tuple(map(from_plain, plain["tuple"]))
