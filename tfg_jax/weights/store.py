"""Released weights: a folder with `config.json` and `model.safetensors`, read with every check before an array is made.

`config.json` is a JSON object that also holds the format's version and the sha256 of the weights beside it: a pair that
does not belong together is noticed even without a manifest. Reading parses JSON and copies bytes, nothing is executed.
"""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tfg_jax.checks import check_count
from tfg_jax.files import write_atomically
from tfg_jax.kinds import public
from tfg_jax.models.arrays import fill_nnx as fill_nnx
from tfg_jax.models.arrays import nnx_to_flat as nnx_to_flat
from tfg_jax.readers import parse_json, read_bytes

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT, READ = 2, (1, 2)  # what is written, and what is read
MAX_BYTES = 8 * 2**30
MAX_CONFIG_BYTES = 2**20
MAX_HEADER_BYTES = 16 * 2**20
RESERVED = ("format", "weights_sha256")
DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U8": np.dtype(np.uint8),
}


@public
def save_weights(folder: str | os.PathLike, config: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Write `config.json` and `model.safetensors` into `folder` (created if missing), each in one atomic step.

    The configuration comes last and names the weights' sha256: a run killed in between leaves a pair that is refused.
    Returns {file name: sha256}. Raises ValueError if the config is not JSON, has a reserved key, or a dtype is unknown.
    """
    if taken := [key for key in RESERVED if key in config]:
        raise ValueError(f"config has the key {taken[0]!r}, which the file format writes itself; remove it.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    digest = save_arrays(folder / WEIGHTS_FILE, arrays)
    full = {"format": FORMAT, **config, "weights_sha256": digest}
    try:
        text = json.dumps(full, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"config must hold JSON values only ({error}).") from None
    return {CONFIG_FILE: write_atomically(folder / CONFIG_FILE, lambda f: f.write(text.encode())), WEIGHTS_FILE: digest}


@public
def read_weights(
    folder: str | os.PathLike, expected_sha256: Mapping[str, str] | None = None, *, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The configuration and the arrays of a folder written by `save_weights`.

    `expected_sha256`: {file name: sha256} from a manifest. `max_bytes`: largest weights file accepted.
    Raises FileNotFoundError (a file is missing) and ValueError (damaged, too large, another version, another sha256);
    warns if no sha256 is known of the weights.
    """
    check_count("max_bytes", max_bytes)
    folder, expected = Path(folder), dict(expected_sha256 or {})
    config = _parse_config(folder / CONFIG_FILE, expected.get(CONFIG_FILE))
    digest = config.pop("weights_sha256", None)
    if not isinstance(digest, str | None):
        raise ValueError(f"{folder / CONFIG_FILE} has weights_sha256={digest!r:.60}, which is no hash; fetch it again.")
    known = expected.get(WEIGHTS_FILE) or digest
    if known is None:
        warnings.warn(f"{folder / CONFIG_FILE} records no weights_sha256: the weights are not checked", stacklevel=2)
    arrays = load_arrays(folder / WEIGHTS_FILE, known, max_bytes=max_bytes)
    if digest is not None and expected.get(WEIGHTS_FILE) not in (None, digest):
        raise ValueError(
            f"{folder / CONFIG_FILE} belongs to other weights than the manifest's; fetch the folder again."
        )
    del config["format"]
    return config, arrays


@public
def save_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> str:
    """Write named arrays as one safetensors file, atomically; returns its sha256."""
    import safetensors.numpy

    for name, array in arrays.items():
        if np.asarray(array).dtype not in DTYPES.values():
            raise ValueError(f"array {name!r} has dtype {np.asarray(array).dtype}; use one of {', '.join(DTYPES)}.")
    data = safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return write_atomically(Path(path), lambda f: f.write(data))


@public
def load_arrays(
    path: str | os.PathLike, expected_sha256: str | None = None, *, max_bytes: int = MAX_BYTES
) -> dict[str, np.ndarray]:
    """The named arrays of one safetensors file, all or none; errors as `read_weights`."""
    check_count("max_bytes", max_bytes)
    path = Path(path)
    data = _read_bytes(path, max_bytes, "max_bytes")
    _check_sha256(path, data, expected_sha256)
    header, start = _parse_header(path, data)
    views = {}
    position = 0
    # Sorted by offset, the tensors must tile the rest of the file: no overlap, no gap, nothing behind the last one.
    for name, tensor in sorted(header.items(), key=lambda item: (item[1].begin, item[1].end)):
        dtype, shape, begin, end = tensor
        if begin != position or end - begin != dtype.itemsize * math.prod(shape):
            raise ValueError(f"{path} has wrong data offsets for {name!r:.60}; fetch the file again.")
        position = end
        views[name] = (dtype, shape, begin)
    if len(data) - start != position:
        what = "is truncated" if len(data) - start < position else "has bytes behind its last tensor"
        raise ValueError(f"{path} {what}; fetch the file again.")
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), start + begin).reshape(shape)
        for name, (dtype, shape, begin) in views.items()
    }


def _read_bytes(path: Path, limit: int, limit_name: str) -> bytes:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is no regular file; give one that can be read to its end.")
    try:
        data = read_bytes(path, limit)  # read once: what is hashed is what is parsed
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileNotFoundError(
            f"{path} does not exist; give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}."
        ) from None
    if data is None:
        raise ValueError(f"{path} is larger than {limit_name}={limit} bytes; it is refused unread.")
    return data


def _check_sha256(path: Path, data: bytes, expected: str | None) -> None:
    if expected is not None and (sha256 := hashlib.sha256(data).hexdigest()) != expected:
        raise ValueError(f"{path} has sha256 {sha256} where {expected:.64} is expected; fetch the file again.")


def _parse_config(path: Path, expected_sha256: str | None) -> dict[str, Any]:
    data = _read_bytes(path, MAX_CONFIG_BYTES, "the config limit")
    _check_sha256(path, data, expected_sha256)
    config = _parse_object(path, data, "config")
    if config.get("format") not in READ:
        raise ValueError(f"{path} has format {config.get('format')!r:.60}; this version reads {FORMAT}.")
    return config


class Tensor(NamedTuple):
    """What a header says of a tensor: its bytes lie at ``begin`` to ``end`` behind the header."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def _parse_header(path: Path, data: bytes) -> tuple[dict[str, Tensor], int]:
    """The tensors by name, and where the tensors start."""
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(
            f"{path} has a header of {size} bytes, over the limit of {MAX_HEADER_BYTES}; it is no safetensors."
        )
    if len(data) < 8 + size:
        raise ValueError(f"{path} is truncated; fetch the file again.")
    raw = _parse_object(path, data[8 : 8 + size], "header")
    raw.pop("__metadata__", None)
    header = {}
    for name, entry in raw.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{path} has a corrupted header at {name!r:.60}; fetch the file again.")
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
            raise ValueError(
                f"{path} has dtype {entry['dtype']!r:.60} at {name!r:.60}; the known ones are {', '.join(DTYPES)}."
            )
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
            raise ValueError(f"{path} has a corrupted header at {name!r:.60}; fetch the file again.")
        header[name] = Tensor(DTYPES[entry["dtype"]], tuple(shape), *offsets)
    return header, 8 + size


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v <= 2**48 for v in value)


def _parse_object(path: Path, data: bytes, what: str) -> dict[str, Any]:
    try:
        value = parse_json(data, unique=True)
    except ValueError as error:
        raise ValueError(f"{path} has a corrupted {what} ({type(error).__name__}); fetch the file again.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} has a {what} that is not a JSON object; fetch the file again.")
    return value
