"""The manifest of a sample folder: what was run, on what, and a hash of all it says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from tfg_jax.checks import check_count
from tfg_jax.noise import THREEFRY, key_type
from tfg_jax.readers import MAX_JSON_BYTES, check_file, parse_json, read_bytes
from tfg_jax.rows import Rows, as_rows, blocks

ZARR, NPZ, FIRST_NPZ = "tfg_jax.samples/3", "tfg_jax.samples/2", "tfg_jax.samples/1"
"""Schemas: arrays of a Zarr group; an .npz file a shard; the same, without a hash of the manifest."""
FORMATS = {"zarr": ZARR, "npz": NPZ}
MANIFEST = "manifest.json"
MAX_SHARDS = 2**20
COMPARED = {"config", "num_samples", "shard_size", "key_type"}
NPZ_FILE = re.compile(r"shard-(\d{5,})\.npz")


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
        array = as_rows(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        for part in blocks(array) if isinstance(array, Rows) else [...]:
            digest.update(array[part].tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    from tfg_jax import __version__

    packages = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    return {"python": platform.python_version(), "tfg_jax": __version__, **packages}


def new_manifest(config: Mapping[str, Any], num_samples: int, shard_size: int, schema: str) -> dict[str, Any]:
    """Of a folder that begins here and now."""
    digest = config_hash(config)
    return hashed(
        {
            "schema": NPZ if schema == FIRST_NPZ else schema,
            "config_hash": digest,
            "config": json.loads(json.dumps(config)),  # as it will be read back: tuples become lists, keys strings
            "num_samples": int(num_samples),
            "shard_size": int(shard_size),
            "key_type": key_type(),
            "versions": versions(),
        }
    )


def hashed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the hash of all that it says."""
    return {**manifest, "hash": _hash(manifest)}


def manifest_text(manifest: Mapping[str, Any]) -> bytes:
    """Its file."""
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def _hash(manifest: Mapping[str, Any]) -> str:
    """Of all that a manifest says but the hash itself."""
    return config_hash({key: value for key, value in manifest.items() if key != "hash"})


def parse_manifest(data: bytes | None, names: Iterable[str] = ()) -> dict[str, Any]:
    """What a manifest says; ValueError, KeyError or TypeError if it is not as it was written.

    Args:
        data: its file; None is refused.
        names: of files beside it. The first schema has no hash but the configuration's, so that shards that it does not
            count give it away.
    """
    manifest = parse_json(data or b"")
    if not isinstance(manifest["versions"], dict) or not _is_whole(manifest, names):
        raise ValueError(f"{MANIFEST} is not as it was written")
    check_sizes(manifest["num_samples"], manifest["shard_size"])
    return {"key_type": THREEFRY, **manifest}  # earlier folders do not say


def _is_whole(manifest: Any, names: Iterable[str]) -> bool:
    if manifest["schema"] == FIRST_NPZ:
        shards = [int(match[1]) for name in names if (match := NPZ_FILE.fullmatch(name))]
        counted = max(shards, default=-1) * manifest["shard_size"] < manifest["num_samples"]
        return counted and config_hash(manifest["config"]) == manifest["config_hash"]
    return manifest["schema"] in (ZARR, NPZ) and _hash(manifest) == manifest["hash"]


def read_manifest(file: Path) -> dict[str, Any]:
    """As `parse_manifest`, of a file."""
    check_file("manifest", file)
    return parse_manifest(read_bytes(file, MAX_JSON_BYTES), (entry.name for entry in file.parent.iterdir()))


def tell_versions(name: str, there: Any, here: Mapping[str, str]) -> None:
    """Warn of versions that a folder was begun with and that are others now."""
    old = there if isinstance(there, dict) else {}
    changed = [f"{name} {old.get(name, 'unknown')} -> {new}" for name, new in here.items() if old.get(name) != new]
    if changed:
        listed = ", ".join(changed)
        warnings.warn(f"{name} was begun with other versions ({listed}); new samples may differ in their last bits",
                      stacklevel=4)  # fmt: skip


def check_sizes(num_samples: Any, shard_size: Any) -> None:
    """Raise ValueError unless a folder may hold so many samples in shards of this size."""
    check_count("num_samples", num_samples)
    check_count("shard_size", shard_size)
    if -(-num_samples // shard_size) > MAX_SHARDS:
        raise ValueError(
            f"num_samples={num_samples} in shards of {shard_size} are more than {MAX_SHARDS} files; "
            "raise the chunk, or sample into several folders"
        )
