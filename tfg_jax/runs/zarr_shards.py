"""Shards as chunks of the arrays of a Zarr v3 group, which zarr-python, xarray and TensorStore open.

    zarr.json                the group, written when the arrays are known: with the first shard
    x/zarr.json  x/c.0.0.0   an array and its chunks, each as long as a shard and as wide as a sample
    shard-00000.sha256       hashes of the chunks of a shard as `sha256sum -c` reads them, written last

A shard counts as done if all its chunks have the recorded hashes. Chunks are written through TensorStore and read as
the bytes that were hashed: raw numbers and their crc32c.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tfg_jax.readers import MAX_ARRAYS, MAX_JSON_BYTES, parse_json
from tfg_jax.runs.lease import done
from tfg_jax.runs.values import Values

GROUP = "zarr.json"
CHECKSUM_BYTES = 4
MAX_DIMENSIONS = 16
MAX_RECORD_BYTES = 2**16
DTYPES = {"bool", "complex64", "complex128", "float16", "float32", "float64",
          *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))}  # fmt: skip
OWN_KEY = re.compile(r"zarr\.json|[^\W\d]\w*/(zarr\.json|c(\.\d+)+)")


class Array(NamedTuple):
    """What all samples have in common in one array."""

    dtype: str
    shape: tuple[int, ...]


@dataclass
class ZarrShards:
    """Those of a folder."""

    values: Values
    manifest: Mapping[str, Any]
    _known: dict[str, Array] | None = None
    _open: dict[str, Any] = field(default_factory=dict)

    def name(self, indices: range) -> str:
        """Of a range."""
        return f"shard-{indices.start // self.manifest['shard_size']:05d}"

    def write(self, indices: range, arrays: Mapping[str, np.ndarray]) -> None:
        """Store one range; ValueError for arrays of another kind than those that are there."""
        arrays = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
        given = {name: Array(array.dtype.name, array.shape[1:]) for name, array in arrays.items()}
        if self.arrays() is None:
            self._known = given
            self.repair()  # a worker that does the same at the same time writes the same bytes
        there = self.arrays() or {}
        for name in (*given, *there):
            if given.get(name) != there.get(name):
                raise ValueError(
                    f"arrays[{name!r}] is {given.get(name)}, in {self.values.name} it is {there.get(name)}; "
                    "open it with overwrite=True"
                )
        rows, chunks = slice(indices.start, indices.stop), self._chunks(indices, given)
        if len(indices) < self._rows:  # of a chunk that is written in part TensorStore reads the rest, damaged or not
            for key in chunks:
                self.values.delete(key)
        for writing in [self._array(name)[rows].write(arrays[name]) for name in self._stored(given)]:
            done(writing)
        lines = []
        for key, (name, array) in chunks.items():
            data = self.values.read(key, self._bytes(array))
            # What is vouched for is what was meant to be stored.
            if data is None or data[: arrays[name].nbytes] != arrays[name].tobytes():
                raise OSError(errno.EIO, f"{key} does not read as it was written")
            lines.append(f"{hashlib.sha256(data).hexdigest()}  {key}\n")
        self.values.write(f"{self.name(indices)}.sha256", "".join(lines).encode())

    def state(self, indices: range) -> str:
        """ok, missing or damaged."""
        data = self._checked(indices)
        return data if isinstance(data, str) else "ok"

    def read(self, indices: range, only: str | None = None) -> dict[str, np.ndarray] | str:
        """Arrays of one range, all or a single one; its state if that is not ok, ValueError if it is no shard."""
        chunks = self._checked(indices, only)
        if isinstance(chunks, str):
            return chunks
        arrays = {name: array for name, array in (self._known or {}).items() if only in (None, name)}
        read = {name: np.empty((len(indices), *a.shape), a.dtype) for name, a in arrays.items() if 0 in a.shape}
        for key, (name, array) in self._chunks(indices, arrays).items():
            if len(chunks[key]) != self._bytes(array):
                raise ValueError(f"{key} is not as large as its array says")
            dtype = np.dtype(array.dtype).newbyteorder("<")
            numbers = np.frombuffer(chunks[key][:-CHECKSUM_BYTES], dtype).reshape(self._rows, *array.shape)
            read[name] = numbers[: len(indices)].astype(array.dtype)
        return read

    def forget(self, indices: range) -> None:
        """Have a range computed again."""
        self.values.delete(f"{self.name(indices)}.sha256")

    def arrays(self) -> dict[str, Array] | None:
        """The arrays by name; None if no shard was written yet, or the group's record is damaged."""
        if self._known is None:
            self._known = _arrays(self.values.read(GROUP, MAX_JSON_BYTES))
        return self._known

    def repair(self) -> None:
        """Write what other readers go by, where it is not there or damaged; the group's record last."""
        for key in self.faults():
            self.values.write(key, self._documents()[key])

    def faults(self) -> list[str]:
        """Keys of records that are not as they should be."""
        return [key for key, data in self._documents().items() if self.values.read(key, MAX_JSON_BYTES) != data]

    @property
    def _rows(self) -> int:
        return min(self.manifest["shard_size"], self.manifest["num_samples"])

    def _bytes(self, array: Array) -> int:
        """Of a chunk."""
        return self._rows * math.prod(array.shape) * np.dtype(array.dtype).itemsize + CHECKSUM_BYTES

    def _stored(self, arrays: Mapping[str, Array]) -> list[str]:
        """Names of arrays that have chunks: those that hold anything."""
        return [name for name in sorted(arrays) if math.prod(arrays[name].shape)]

    def _chunks(self, indices: range, arrays: Mapping[str, Array]) -> dict[str, tuple[str, Array]]:
        """The arrays by the key of the chunk of a range, in the order of the record."""
        number = indices.start // self.manifest["shard_size"]
        keys = {name: f"{name}/c.{number}{'.0' * len(arrays[name].shape)}" for name in self._stored(arrays)}
        return {key: (name, arrays[name]) for name, key in keys.items()}

    def _checked(self, indices: range, only: str | None = None) -> dict[str, bytes] | str:
        """The bytes of the chunks of a range, or of one array, which are those that were recorded, or its state."""
        record = self.values.read(f"{self.name(indices)}.sha256", MAX_RECORD_BYTES)
        if record is None:
            return "missing"
        chunks, keyed = {}, self._chunks(indices, self.arrays() or {})
        lines = record.decode(errors="replace").splitlines(keepends=True)
        if not keyed or [line[64:] for line in lines] != [f"  {key}\n" for key in keyed]:
            return "damaged"
        for line, (key, (name, array)) in zip(lines, keyed.items(), strict=True):
            if only in (None, name):
                data = self.values.read(key, self._bytes(array))
                if data is None or hashlib.sha256(data).hexdigest() != line[:64]:
                    return "damaged"
                chunks[key] = data
        return chunks

    def _array(self, name: str) -> Any:
        """An array, open to write."""
        if name not in self._open:
            import tensorstore

            spec = {"driver": "zarr3", "kvstore": self.values.spec(f"{name}/"), "store_data_equal_to_fill_value": True}
            self._open[name] = done(tensorstore.open(spec, open=True))
        return self._open[name]

    def _documents(self) -> dict[str, bytes]:
        """Metadata by key, as every process writes it."""
        if (arrays := self.arrays()) is None:
            return {}
        said = {key: self.manifest[key] for key in ("schema", "config", "config_hash", "num_samples", "shard_size")}
        listed = {name: {"dtype": array.dtype, "shape": list(array.shape)} for name, array in arrays.items()}
        documents = {name: self._array_document(name, array) for name, array in arrays.items()}
        # Consolidated, so that readers need not look through all that lies beside the arrays to find them.
        consolidated = {"kind": "inline", "must_understand": False, "metadata": documents}
        group = {"zarr_format": 3, "node_type": "group", "attributes": {**said, "arrays": listed},
                 "consolidated_metadata": consolidated}  # fmt: skip
        keyed = {**{f"{name}/{GROUP}": document for name, document in documents.items()}, GROUP: group}
        return {key: (json.dumps(each, indent=2, sort_keys=True) + "\n").encode() for key, each in keyed.items()}

    def _array_document(self, name: str, array: Array) -> dict[str, Any]:
        fill: Any = np.zeros((), array.dtype).item()
        chunk = [self._rows, *(max(size, 1) for size in array.shape)]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self.manifest["num_samples"], *array.shape],
            "data_type": array.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": [0.0, 0.0] if isinstance(fill, complex) else fill,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "dimension_names": ["sample", *(f"{name}_{axis}" for axis in range(1, len(array.shape) + 1))],
            "attributes": {},
        }


def _arrays(data: bytes | None) -> dict[str, Array] | None:
    """What the record of a group says of its arrays."""
    try:
        listed = parse_json(data or b"")["attributes"]["arrays"]
        arrays = {name: Array(each["dtype"], tuple(each["shape"])) for name, each in listed.items()}
        good = 0 < len(arrays) <= MAX_ARRAYS and all(
            name.isidentifier() and array.dtype in DTYPES and len(array.shape) < MAX_DIMENSIONS
            and all(type(size) is int and 0 <= size < 2**40 for size in array.shape)
            for name, array in arrays.items()
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return arrays if good else None
