"""Arrays with one row a sample that are read when they are needed: those of all samples of a run may not fit in memory.

Numbers of a run are made block by block: a block is a few shards of such an array, or all of an array in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

MOST_BYTES, MOST_ROWS = 2**24, 2**16
"""Of a block, which has one shard at least."""
SHARD = 256
"""Rows that are put together at a time where they lie in memory."""
MOST_KEPT = 10_000
"""Rows that are looked at together where something needs them all: what is over more is by groups, or of the first."""


class Rows:
    """An array that is read shard by shard; the last one that was read is kept.

    ``rows[i]``, ``rows[a:b]`` and ``rows[indices]`` are arrays, and so is ``np.asarray(rows)``, of all of them.

    Args:
        shape: of all rows, (n, ...).
        dtype: of all of them.
        step: rows of a shard; the last may have fewer.
        read: the rows of a range, a shard.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, step: int, read: Callable[[range], np.ndarray]):
        self.shape, self.dtype, self.step = tuple(shape), np.dtype(dtype), max(step, 1)
        self._shard = lru_cache(maxsize=1)(lambda start: read(range(start, min(start + self.step, len(self)))))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Rows({self.shape}, {self.dtype})"

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (row for part in blocks(self) for row in self[part])

    def __getitem__(self, which: Any) -> np.ndarray:
        if isinstance(which, int | np.integer):
            i = range(len(self))[which]
            return self._shard(i // self.step * self.step)[i % self.step]
        indices = np.arange(*which.indices(len(self))) if isinstance(which, slice) else np.arange(len(self))[which]
        cuts = np.flatnonzero(np.diff(indices // self.step)) + 1
        parts = [
            self._shard(int(p[0]) // self.step * self.step)[p % self.step] for p in np.split(indices, cuts) if len(p)
        ]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def map(self, fn: Callable[[np.ndarray, slice], np.ndarray]) -> Rows:
        """``fn(rows, where)``, shard by shard as it is read; the first shard is read to know what comes of it."""
        read = lambda part: fn(self[part.start : part.stop], slice(part.start, part.stop))  # noqa: E731
        first = read(range(min(self.step, len(self))))
        return Rows((len(self), *first.shape[1:]), first.dtype, self.step, read)


AnyArray = jax.Array | np.ndarray | Rows
Arrays = Mapping[str, np.ndarray | Rows]
"""What is stored of samples, by name."""


def as_rows(array: Any) -> np.ndarray | Rows:
    """An array on the host, or one that is read when it is needed, as it is."""
    return array if isinstance(array, Rows) else np.asarray(array)


def repeated(array: np.ndarray, times: int) -> np.ndarray | Rows:
    """Each row so many times, one after the other; put together when they are needed, if they are large."""
    return _picked(array, times * len(array), lambda i: i // times)


def cycled(array: np.ndarray, n: int) -> np.ndarray | Rows:
    """n rows: all of an array's, again and again; as `repeated`."""
    return _picked(array, n, lambda i: i % len(array))


def _picked(array: np.ndarray, n: int, pick: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | Rows:
    read = lambda part: array[pick(np.arange(part.start, part.stop))]  # noqa: E731
    rows = Rows((n, *array.shape[1:]), array.dtype, SHARD, read)
    return rows if n * array[:1].nbytes > MOST_BYTES else np.asarray(rows)


def chosen(array: Any, which: np.ndarray) -> np.ndarray | Rows:
    """Rows by their index, or those that a mask chooses, in memory if the array is."""
    if not isinstance(array, Rows):
        return np.asarray(array)[which]
    indices = np.flatnonzero(which) if which.dtype == bool else which
    read = lambda part: array[indices[part.start : part.stop]]  # noqa: E731
    return Rows((len(indices), *array.shape[1:]), array.dtype, array.step, read)


def blocks(array: Any) -> list[slice]:
    """The rows of a block each, in order; of an array in memory all of them."""
    n = len(array)
    if not isinstance(array, Rows):
        return [slice(0, n)]
    size = max(math.prod(array.shape[1:]) * array.dtype.itemsize, 1)
    rows = max(min(MOST_BYTES // size, MOST_ROWS) // array.step, 1) * array.step
    return [slice(start, min(start + rows, n)) for start in range(0, max(n, 1), rows)]


def by_blocks(fn: Callable[..., Any], *arrays: Any) -> np.ndarray:
    """``fn`` of arrays, which gives one row for each of theirs, block by block of the first."""
    return np.concatenate([np.asarray(fn(*(each[part] for each in arrays))) for part in blocks(arrays[0])])
