"""Sample folders: a long run that can be killed at any moment and taken up again.

    manifest.json                         written first: configuration, number of samples, versions, and a hash of all
    shard-00000.npz  shard-00000.sha256   one range of sample indices, and its hash as `sha256sum -c` reads it
    lock, lock.held                       who is writing now

The unit of progress is a shard. It counts as done if its file has the recorded hash, and nothing else is remembered:
every file appears under its name only when it is complete on disk (temporary name, fsync, rename).
Sample i depends on its index alone, so a shard computed again has the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tfg_jax.checks import check_count
from tfg_jax.domains.base import named_leaves, names_of
from tfg_jax.files import write_atomically
from tfg_jax.kinds import public
from tfg_jax.locks import FolderLock
from tfg_jax.noise import THREEFRY, key_type
from tfg_jax.readers import MAX_ARRAYS, load_json, load_npz
from tfg_jax.result import Cost, Samples, Status
from tfg_jax.runs.claim import Kind, claim, read_record

SCHEMA, FIRST_SCHEMA = "tfg_jax.samples/2", "tfg_jax.samples/1"
MANIFEST = "manifest.json"
MAX_SHARDS = 2**20
COMPARED = {"config", "num_samples", "shard_size", "key_type"}


@dataclass(frozen=True)
class SampleFolder:
    """An open sample folder; made by `open_folder` (to write, holding the lock) or `read_folder`.

    Use as a context manager: leaving it gives the lock back.
    """

    path: Path
    manifest: dict[str, Any]
    lock: FolderLock | None = None

    def __enter__(self) -> SampleFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back; a folder opened to read holds none."""
        if self.lock is not None:
            self.lock.release()

    def ranges(self) -> list[range]:
        """The sample indices of every shard, in order."""
        total, size = self.manifest["num_samples"], self.manifest["shard_size"]
        return [range(start, min(start + size, total)) for start in range(0, total, size)]

    def verify(self) -> dict[str, str]:
        """State of every shard file by name: "ok", "missing" or "damaged" (its hash or its sidecar is not right)."""
        return {self.file(indices).name: self._state(indices) for indices in self.ranges()}

    def missing(self) -> list[range]:
        """Index ranges still to be computed: shards that are absent or damaged."""
        return [indices for indices in self.ranges() if self._state(indices) != "ok"]

    def write(self, indices: range, arrays: Mapping[str, Any]) -> None:
        """Store one shard, atomically.

        Args:
            indices: one of `ranges()`.
            arrays: name -> numeric array whose leading axis runs over `indices`; `index` is added.
        Raises:
            ValueError: if the folder is open to read only, was lost to another process while this one slept, or a
                range, name, length or dtype does not fit.
        """
        if self.lock is None:
            raise ValueError(f"path={self.path} is open to read only; open it with open_folder to write")
        self.lock.check()
        if indices not in self.ranges():
            raise ValueError(f"indices={indices} is no shard of this folder; pass one of folder.ranges()")
        stored = {"index": np.arange(indices.start, indices.stop, dtype=np.int64)}
        if not 0 < len(arrays) < MAX_ARRAYS:
            raise ValueError(f"arrays holds {len(arrays)} entries; pass between 1 and {MAX_ARRAYS - 1}")
        for name, value in arrays.items():
            array = np.asarray(value)
            if name == "index" or not name.isidentifier():
                raise ValueError(f"arrays has the name {name!r}; use an identifier other than 'index'")
            if array.dtype.kind not in "biufc":
                raise ValueError(f"arrays[{name!r}] has dtype {array.dtype}; cast it to a standard numeric dtype")
            if array.shape[:1] != (len(indices),):
                raise ValueError(
                    f"arrays[{name!r}] has shape {array.shape}; its leading axis must be {len(indices)} long"
                )
            stored[name] = array
        file = self.file(indices)
        digest = write_atomically(file, lambda out: np.savez(out, allow_pickle=False, **stored))
        # The hash comes second: killed between the two, the shard counts as damaged and is computed again.
        line = f"{digest}  {file.name}\n"
        write_atomically(file.with_suffix(".sha256"), lambda out: out.write(line.encode()))

    def read(self, indices: range) -> dict[str, np.ndarray]:
        """The arrays of one shard, verified; ValueError if it is missing, damaged or not what the manifest says."""
        file = self.file(indices)
        if (state := self._state(indices)) != "ok":
            raise ValueError(f"shard {file.name} of {self.path} is {state}; run the command that made it again")
        try:  # shards are stored uncompressed, so an archive that unpacks to more than its own size is none of ours
            arrays = load_npz("shard", file, limit=file.stat().st_size)
        except ValueError as error:
            raise ValueError(
                f"shard {file.name} of {self.path} is no shard of tfg_jax; delete it and run again ({error})"
            ) from None
        if not np.array_equal(arrays.get("index", ()), np.asarray(indices)):
            raise ValueError(f"shard {file.name} of {self.path} holds other samples than {indices}; delete it")
        return arrays

    def read_all(self) -> dict[str, np.ndarray]:
        """All samples in the order of their indices: name -> array with num_samples rows; all shards must be there."""
        shards = [self.read(indices) for indices in self.ranges()]
        if len({frozenset(shard) for shard in shards}) > 1:
            raise ValueError(f"the shards of {self.path} hold different arrays; open it with overwrite=True")
        return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}

    def file(self, indices: range) -> Path:
        """Of one shard."""
        return self.path / f"shard-{indices.start // self.manifest['shard_size']:05d}.npz"

    def _state(self, indices: range) -> str:
        file = self.file(indices)
        if not file.is_file():
            return "missing"
        sidecar = file.with_suffix(".sha256")
        recorded = sidecar.read_bytes() if sidecar.is_file() else b""
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return "ok" if recorded == f"{digest}  {file.name}\n".encode() else "damaged"


def open_folder(
    path: str | os.PathLike[str], config: Mapping[str, Any], num_samples: int, shard_size: int, overwrite: bool = False,
    *, shorter: tuple[Mapping[str, Any], int] | None = None,
) -> SampleFolder:  # fmt: skip
    """Begin a sample folder, or take up the one that is there.

    Args:
        path: the folder; made if absent.
        config: everything that decides the samples, as JSON values (seed and index offset included).
        num_samples: samples in the whole run, >= 1.
        shard_size: samples a shard, >= 1; the last shard may be shorter.
        overwrite: throw away the shards that are there and begin again. Only files of this format are ever deleted.
        shorter: configuration and number of samples of the folder that is there, whose samples are the first of these:
            its whole shards stay, a last one that is shorter is made again.
    Returns:
        The folder, locked. Compute and write `folder.missing()`, then close it.
    Raises:
        ValueError: if the folder holds another configuration (the differing keys are named), a damaged manifest or
            files of another origin, is being written by a live process, or cannot be written.
    Warns:
        if the folder was begun with other versions of what decides the numbers.
    """
    _check_sizes(num_samples, shard_size)
    path = Path(path)
    manifest = _manifest(config, int(num_samples), int(shard_size))
    expected = manifest if shorter is None else _manifest(*shorter, int(shard_size))
    lock, there = claim(path, expected, SHARDS, overwrite=overwrite, free=set(manifest) - COMPARED)
    if there is not None:
        _tell_versions(path, there["versions"], manifest["versions"])
    folder = SampleFolder(path, manifest, lock)
    if shorter is not None and there is not None:
        manifest |= {"versions": there["versions"]}  # of the samples that stay
        manifest["hash"] = _hash(manifest)
        file = folder.file(folder.ranges()[shorter[1] // shard_size])
        for each in (file, file.with_suffix(".sha256")) if shorter[1] % shard_size else ():
            each.unlink(missing_ok=True)
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        write_atomically(path / MANIFEST, lambda out: out.write(text.encode()))
    return folder


@public
def read_folder(path: str | os.PathLike[str]) -> SampleFolder:
    """Open a sample folder to read, finished or not; FileNotFoundError if there is none, ValueError if damaged."""
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise FileNotFoundError(f"path={path} holds no {MANIFEST}; pass a folder written by `tfg-jax sample`")
    return SampleFolder(path, read_record(path, SHARDS))


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


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON text of `config` (sorted keys, no spaces); ValueError if it is not JSON."""
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"config={config!r:.80} is not JSON ({error}); use plain numbers, strings and lists") from None
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(params: Any) -> str:
    """SHA-256 of all weights in the order of the tree: the same network under any name or path."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    from tfg_jax import __version__

    packages = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    return {"python": platform.python_version(), "tfg_jax": __version__, **packages}


def _manifest(config: Mapping[str, Any], num_samples: int, shard_size: int) -> dict[str, Any]:
    digest = config_hash(config)
    manifest = {
        "schema": SCHEMA,
        "config_hash": digest,
        "config": json.loads(json.dumps(config)),  # as it will be read back: tuples become lists, keys strings
        "num_samples": num_samples,
        "shard_size": shard_size,
        "key_type": key_type(),
        "versions": versions(),
    }
    return manifest | {"hash": _hash(manifest)}


def _hash(manifest: Mapping[str, Any]) -> str:
    """Of all that a manifest says but the hash itself."""
    return config_hash({key: value for key, value in manifest.items() if key != "hash"})


def _is_whole(manifest: Any, path: Path) -> bool:
    """True if a manifest is as it was written. Formats of earlier versions are told apart here alone.

    That of the first says no hash but the configuration's, so that shards that it does not count give it away.
    """
    if manifest["schema"] == FIRST_SCHEMA:
        names = [file for file in path.glob("shard-*.npz") if SHARDS.own.fullmatch(file.name)]
        shards = [int(file.stem.partition("-")[2]) for file in names]
        counted = max(shards, default=-1) * manifest["shard_size"] < manifest["num_samples"]
        return counted and config_hash(manifest["config"]) == manifest["config_hash"]
    return manifest["schema"] == SCHEMA and _hash(manifest) == manifest["hash"]


def _tell_versions(path: Path, there: Any, here: Mapping[str, str]) -> None:
    old = there if isinstance(there, dict) else {}
    changed = [f"{name} {old.get(name, 'unknown')} -> {new}" for name, new in here.items() if old.get(name) != new]
    if changed:
        listed = ", ".join(changed)
        warnings.warn(f"{path} was begun with other versions ({listed}); new samples may differ in their last bits",
                      stacklevel=3)  # fmt: skip


def _check_sizes(num_samples: Any, shard_size: Any) -> None:
    check_count("num_samples", num_samples)
    check_count("shard_size", shard_size)
    if -(-num_samples // shard_size) > MAX_SHARDS:
        raise ValueError(
            f"num_samples={num_samples} in shards of {shard_size} are more than {MAX_SHARDS} files; "
            "raise the chunk, or sample into several folders"
        )


def _read_manifest(file: Path) -> dict[str, Any]:
    manifest = load_json("manifest", file)
    if not isinstance(manifest["versions"], dict) or not _is_whole(manifest, file.parent):
        raise ValueError(f"{file} is not as it was written")
    _check_sizes(manifest["num_samples"], manifest["shard_size"])
    return {"key_type": THREEFRY, **manifest}  # earlier folders do not say


SHARDS = Kind(
    own=re.compile(r"shard-\d{5,}\.(npz|sha256)"),
    leftover=re.compile(r"(shard-\d{5,}\.(npz|sha256)|manifest\.json)\.tmp"),
    record=MANIFEST,
    read=_read_manifest,
    noun="shards",
)
"""Sample folders, known by their manifests."""
