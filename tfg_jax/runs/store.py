"""Sample folders: a long run that can be killed at any moment and taken up again.

    manifest.json             written first: configuration, number of samples, versions, and a hash of all
    shard-00000...            one range of sample indices, as `zarr_shards` or, in earlier versions, `npz_shards` says
    lock, lock.held, locks/   who is writing now

The unit of progress is a shard. It counts as done if what it consists of has the recorded hash, and nothing else is
remembered: every file appears under its name only when it is complete on disk (temporary name, fsync, rename), and
every object of a store at once. Sample i depends on its index alone, so a shard computed again has the same bytes.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tfg_jax.domains.base import named_leaves, names_of
from tfg_jax.kinds import public
from tfg_jax.readers import MAX_ARRAYS
from tfg_jax.result import Cost, Samples, Status
from tfg_jax.rows import Rows
from tfg_jax.runs.claim import Kind, claim, read_record
from tfg_jax.runs.claim_values import claim_values
from tfg_jax.runs.npz_shards import NpzShards
from tfg_jax.runs.record import (
    COMPARED,
    FORMATS,
    MANIFEST,
    ZARR,
    check_sizes,
    config_hash,  # noqa: F401  # with two others known by their names here
    fingerprint,  # noqa: F401
    hashed,
    manifest_text,
    new_manifest,
    parse_manifest,
    read_manifest,
    tell_versions,
    versions,  # noqa: F401
)
from tfg_jax.runs.values import UNFINISHED, LocalValues, Right, Values, url_of, values_at
from tfg_jax.runs.workers import POLL_SECONDS, Worker, WorkerLock, await_dead, lock_alone, lock_worker
from tfg_jax.runs.zarr_shards import OWN_KEY, ZarrShards


@dataclass(frozen=True)
class SampleFolder:
    """An open sample folder; made by `open_folder` (to write, holding the lock) or `read_folder`.

    Use as a context manager: leaving it gives the lock back.
    """

    path: Path
    manifest: dict[str, Any]
    lock: Right | None = None
    worker: Worker | None = None

    def __enter__(self) -> SampleFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def values(self) -> Values:
        """What it holds, by key."""
        return values_at(self.path)

    @cached_property
    def shards(self) -> ZarrShards | NpzShards:
        """Its shards, in their format."""
        return (ZarrShards(self.values, self.manifest) if self.manifest["schema"] == ZARR
                else NpzShards(self.path, self.manifest))  # fmt: skip

    @property
    def name(self) -> str:
        """The folder or URL, for messages."""
        return self.values.name

    def close(self) -> None:
        """Give the lock back; a folder opened to read holds none."""
        if self.lock is not None:
            self.lock.release()

    def ranges(self) -> list[range]:
        """The sample indices of every shard, in order."""
        total, size = self.manifest["num_samples"], self.manifest["shard_size"]
        return [range(start, min(start + size, total)) for start in range(0, total, size)]

    def own(self) -> list[range]:
        """Those of this worker; all if it is none."""
        first, step = self.worker or (0, 1)
        return self.ranges()[first::step]

    def verify(self) -> dict[str, str]:
        """State of every shard by name: "ok", "missing" or "damaged" (a hash or its record is not right).

        Damaged metadata of the arrays, which other readers go by, are named as well; opening to write mends them.
        """
        states = {self.shards.name(indices): self.shards.state(indices) for indices in self.ranges()}
        return states | dict.fromkeys(self.shards.faults(), "damaged")

    def missing(self) -> list[range]:
        """Index ranges still to be computed, by this worker: shards that are absent or damaged."""
        return [indices for indices in self.own() if self.shards.state(indices) != "ok"]

    def write(self, indices: range, arrays: Mapping[str, Any]) -> None:
        """Store one shard, atomically.

        Args:
            indices: one of `ranges()`.
            arrays: name -> numeric array whose leading axis runs over `indices`; `index` is added.
        Raises:
            ValueError: if the folder is open to read only, was lost to another process while this one slept, or a
                range, name, length, shape or dtype does not fit.
            OSError: if it cannot be stored.
        """
        if self.lock is None:
            raise ValueError(f"path={self.name} is open to read only; open it with open_folder to write")
        self.lock.check()
        size, total = self.manifest["shard_size"], self.manifest["num_samples"]
        if indices.start % size or indices != range(indices.start, min(indices.start + size, total)):
            raise ValueError(f"indices={indices} is no shard of this folder; pass one of folder.ranges()")
        stored = {"index": np.arange(indices.start, indices.stop, dtype=np.int64)}
        if not 0 < len(arrays) < MAX_ARRAYS:
            raise ValueError(f"arrays holds {len(arrays)} entries; pass between 1 and {MAX_ARRAYS - 1}")
        for name, value in arrays.items():
            array = np.asarray(value)
            if name == "index" or not name.isidentifier():
                raise ValueError(f"arrays has the name {name!r}; use an identifier other than 'index'")
            if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16 or array.dtype.name == "longdouble":
                raise ValueError(f"arrays[{name!r}] has dtype {array.dtype}; cast it to a standard numeric dtype")
            if array.shape[:1] != (len(indices),):
                raise ValueError(
                    f"arrays[{name!r}] has shape {array.shape}; its leading axis must be {len(indices)} long"
                )
            stored[name] = array
        self.shards.write(indices, stored)

    def read(self, indices: range, only: str | None = None) -> dict[str, np.ndarray]:
        """The arrays of one shard, or of them a single one, verified.

        Raises ValueError if it is missing, damaged or not what the manifest says.
        """
        name = self.shards.name(indices)
        try:
            arrays = self.shards.read(indices, only)
        except ValueError as error:
            raise ValueError(
                f"shard {name} of {self.name} is no shard of tfg_jax; delete it and run again ({error})"
            ) from None
        if isinstance(arrays, str):
            raise ValueError(f"shard {name} of {self.name} is {arrays}; run the command that made it again")
        if only in (None, "index") and not np.array_equal(arrays.get("index", ()), np.asarray(indices)):
            raise ValueError(f"shard {name} of {self.name} holds other samples than {indices}; delete it")
        return arrays

    def read_all(self) -> dict[str, np.ndarray]:
        """All samples in the order of their indices: name -> array with num_samples rows; all shards must be there."""
        shards = [self.read(indices) for indices in self.ranges()]
        if len({frozenset(shard) for shard in shards}) > 1:
            raise ValueError(f"the shards of {self.name} hold different arrays; open it with overwrite=True")
        return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}

    def arrays(self) -> dict[str, Rows]:
        """The same, read shard by shard when they are looked at; the first shard says what they are."""

        def rows(name: str, first: np.ndarray) -> Rows:
            def read(indices: range) -> np.ndarray:
                part = self.read(indices, name).get(name)
                if part is None or (part.shape[1:], part.dtype) != (first.shape[1:], first.dtype):
                    raise ValueError(f"the shards of {self.name} hold different arrays; open it with overwrite=True")
                return part

            shape = (self.manifest["num_samples"], *first.shape[1:])
            return Rows(shape, first.dtype, self.manifest["shard_size"], read)

        return {name: rows(name, first) for name, first in self.read(self.ranges()[0]).items()}


def open_folder(
    path: str | os.PathLike[str], config: Mapping[str, Any], num_samples: int, shard_size: int, overwrite: bool = False,
    *, shorter: tuple[Mapping[str, Any], int] | None = None, worker: Worker | None = None,
    format: str = "zarr",
) -> SampleFolder:  # fmt: skip
    """Begin a sample folder, or take up the one that is there.

    Args:
        path: the folder, made if absent; or a URL, ``gs://bucket/name`` or ``s3://bucket/name``.
        config: everything that decides the samples, as JSON values (seed and index offset included).
        num_samples: samples in the whole run, >= 1.
        shard_size: samples a shard, >= 1; the last shard may be shorter.
        overwrite: throw away the shards that are there and begin again. Only files of this format are ever deleted.
        shorter: configuration and number of samples of the folder that is there, whose samples are the first of these:
            its whole shards stay, a last one that is shorter is made again.
        worker: compute its shards alone, beside the other workers of the same count; not with ``overwrite``.
        format: of a new folder, zarr or npz; one that is there keeps its own.
    Returns:
        The folder, locked. Compute and write `folder.missing()`, then close it.
    Raises:
        ValueError: if the folder holds another configuration (the differing keys are named), a damaged manifest or
            files of another origin, is being written by a live process, or cannot be written.
    Warns:
        if the folder was begun with other versions of what decides the numbers.
    """
    check_sizes(num_samples, shard_size)
    if format not in FORMATS or (url_of(path) is not None and format != "zarr"):
        raise ValueError(f"format={format!r} must be zarr, or npz in a local folder")
    if worker is not None and overwrite:
        raise ValueError(f"overwrite=True is not for worker {worker.name}: others may be at work; begin again without")
    path, values = Path(path), values_at(path)
    schema = FORMATS[format]
    if not overwrite:
        with suppress(ValueError, KeyError, TypeError, RecursionError, FileNotFoundError, NotADirectoryError):
            schema = _read(path, values)["schema"]
    manifest = new_manifest(config, num_samples, shard_size, schema)
    expected = manifest if shorter is None else new_manifest(*shorter, int(shard_size), schema)

    def take(_: Any) -> Right:
        return lock_alone(values) if worker is None else lock_worker(values, worker, others=shorter is None)

    options: dict[str, Any] = {"overwrite": overwrite, "free": set(manifest) - COMPARED, "take": take}
    if isinstance(values, LocalValues):
        lock, there = claim(path, expected, SHARDS, tidy=worker is None, **options)
    else:
        lock, there = claim_values(values, expected, **options)
    try:
        if there is not None:
            tell_versions(values.name, there["versions"], manifest["versions"])
            manifest = dict(there) if shorter is None else hashed({**manifest, "versions": there["versions"]})
        folder = SampleFolder(path, manifest, lock, worker)
        if shorter is not None and there is not None:
            if shorter[1] % shard_size:
                folder.shards.forget(folder.ranges()[shorter[1] // shard_size])
            values.write(MANIFEST, manifest_text(manifest))
        folder.shards.repair()
    except BaseException:
        lock.release()
        raise
    if isinstance(lock, WorkerLock):
        lock.begun()
    return folder


@public
def read_folder(path: str | os.PathLike[str]) -> SampleFolder:
    """Open a sample folder to read, finished or not; FileNotFoundError if there is none, ValueError if damaged."""
    path, values = Path(path), values_at(path)
    if values.read(MANIFEST) is None:
        raise FileNotFoundError(f"path={values.name} holds no {MANIFEST}; pass a folder written by `tfg-jax sample`")
    return SampleFolder(path, read_record(values.name, MANIFEST, lambda: _read(path, values)))


def _read(path: Path, values: Values) -> dict[str, Any]:
    return read_manifest(path / MANIFEST) if isinstance(values, LocalValues) else parse_manifest(values.read(MANIFEST))


def await_shards(path: Path) -> None:
    """Wait until all shards of a folder are there, and no worker that wrote them lives any more."""
    folder = read_folder(path)
    missing, told = folder.missing(), False
    while missing:
        if not told:
            told = True
            print(f"{folder.name}: waiting for {len(missing)} shards of other processes", file=sys.stderr)
        time.sleep(POLL_SECONDS)
        missing = [indices for indices in missing if folder.shards.state(indices) != "ok"]
    await_dead(folder.values)


def sample_arrays(samples: Samples) -> dict[str, np.ndarray]:
    """The arrays of one shard: x, status_code, status_step, cost_forwards, cost_pullbacks, cost_objective; no info.

    Of samples that are pytrees x is several arrays, named by their path: ``x__positions``, ``x__parts__0``.
    """
    parts = {"status": samples.status, "cost": samples.cost}
    named = {f"{part}_{f.name}": getattr(value, f.name) for part, value in parts.items() for f in fields(value)}
    return {name: np.asarray(value) for name, value in {**named_leaves("x", samples.x), **named}.items()}


def samples_from(arrays: Mapping[str, np.ndarray], model: Any = None) -> Samples:
    """The inverse of `sample_arrays`, for what `read` or `read_all` returns; ValueError if an array is missing.

    Args:
        arrays: name -> array.
        model: whose samples they are, where those are pytrees.
    """

    def part(kind: type, prefix: str) -> Any:
        return kind(**{f.name: arrays[f"{prefix}_{f.name}"] for f in fields(kind)})

    try:
        # They stay on the host: all samples of a run may not fit on a device.
        x: Any = jax.tree.map(arrays.__getitem__, names_of("x", model))
        return Samples(x, part(Status, "status"), part(Cost, "cost"), info=None)
    except KeyError as error:
        raise ValueError(f"arrays has no {error}; pass what a folder of sample_arrays returns") from None


def _is_array(entry: Path) -> bool:
    """Whether a folder is an array of a group and nothing else."""
    if not (entry / "zarr.json").is_file():
        return False
    files = (f"{entry.name}/{file.name}" for file in entry.iterdir())
    return all(OWN_KEY.fullmatch(file) or UNFINISHED.fullmatch(file) for file in files)


SHARDS = Kind(
    own=re.compile(r"shard-\d{5,}\.(npz|sha256)|zarr\.json"),
    owns=_is_array,
    leftover=re.compile(rf"(shard-\d{{5,}}\.(npz|sha256)|manifest\.json|\w+)\.tmp|{UNFINISHED.pattern}"),
    record=MANIFEST,
    read=read_manifest,
    noun="shards",
)
"""Sample folders, known by their manifests."""
