"""Shards as .npz files, each with its hash beside it: the format of folders that earlier versions began.

shard-00000.npz  shard-00000.sha256   one range of sample indices, and its hash as `sha256sum -c` reads it
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.files import write_atomically
from tfg_jax.readers import load_npz


@dataclass(frozen=True)
class NpzShards:
    """Those of the folder at `path`, a local one."""

    path: Path
    manifest: Mapping[str, Any]

    def name(self, indices: range) -> str:
        """Of the file of a range."""
        return f"shard-{indices.start // self.manifest['shard_size']:05d}.npz"

    def write(self, indices: range, arrays: Mapping[str, np.ndarray]) -> None:
        """Store one range."""
        file = self.path / self.name(indices)
        digest = write_atomically(file, lambda out: np.savez(out, allow_pickle=False, **arrays), shared=True)
        # The hash comes second: killed between the two, the shard counts as damaged and is computed again.
        line = f"{digest}  {file.name}\n"
        write_atomically(file.with_suffix(".sha256"), lambda out: out.write(line.encode()), shared=True)

    def state(self, indices: range) -> str:
        """ok, missing or damaged."""
        file = self.path / self.name(indices)
        if not file.is_file():
            return "missing"
        sidecar = file.with_suffix(".sha256")
        recorded = sidecar.read_bytes() if sidecar.is_file() else b""
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return "ok" if recorded == f"{digest}  {file.name}\n".encode() else "damaged"

    def read(self, indices: range, only: str | None = None) -> dict[str, np.ndarray] | str:
        """As of `ZarrShards`; the file is read whole."""
        if (state := self.state(indices)) != "ok":
            return state
        file = self.path / self.name(indices)  # stored uncompressed: what unpacks to more than its size is none of ours
        arrays = load_npz("shard", file, limit=file.stat().st_size)
        return {name: array for name, array in arrays.items() if only in (None, name)}

    def forget(self, indices: range) -> None:
        """Have a range computed again."""
        file = self.path / self.name(indices)
        for each in (file, file.with_suffix(".sha256")):
            each.unlink(missing_ok=True)

    def repair(self) -> None:
        """Nothing: a shard stands for itself."""

    def faults(self) -> list[str]:
        """None, for the same reason."""
        return []
