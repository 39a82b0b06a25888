"""The manifest of the released weights: what each folder under `checkpoints/` holds, its hashes, licence and origin."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.files import write_atomically
from tfg_jax.locks import lock
from tfg_jax.readers import load_json
from tfg_jax.weights.old import upgraded
from tfg_jax.weights.store import CONFIG_FILE, WEIGHTS_FILE, save_arrays, save_weights

MANIFEST_FILE = "manifest.json"
FORMAT = 1


def checkpoints_dir() -> Path:
    """Folder of the released weights: inside an installed package, or beside the package in a source checkout.

    Raises FileNotFoundError if there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    if (package / "checkpoints" / MANIFEST_FILE).is_file():
        return package / "checkpoints"
    if (package.parent / "pyproject.toml").is_file():
        return package.parent / "checkpoints"
    raise FileNotFoundError(f"{package} was installed without its checkpoints folder; install the published wheel.")


def load_manifest(folder: str | os.PathLike | None = None) -> dict[str, dict[str, Any]]:
    """{name: entry} of the released weights; `folder` defaults to `checkpoints_dir()`.

    An entry has architecture (older ones a kind in its place), files ({file name: {sha256, bytes}}), licence, data,
    command and metrics.
    Raises FileNotFoundError (no manifest) and ValueError (not a manifest of this format).
    """
    path = Path(folder or checkpoints_dir()) / MANIFEST_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; no weights have been released there.")
    try:
        content = load_json("manifest", path)
        version, weights = content["format"], content["weights"]
        renamed = [{"architecture" if k == "kind" else k: v for k, v in entry.items()} for entry in weights]
        entries = {entry.pop("name"): entry for entry in renamed}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is not a manifest of weights; restore the released file.") from None
    if version != FORMAT:
        raise ValueError(f"{path} has format {version!r:.60}; this version reads {FORMAT}.")
    return entries


def sha256_of(entry: dict[str, Any]) -> dict[str, str]:
    """{file name: sha256} of one entry, as `read_weights` takes it."""
    return {name: file["sha256"] for name, file in entry["files"].items()}


def release(
    folder: Path,
    config: dict[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    card: str,
    more: Mapping[str, Mapping[str, np.ndarray]],
    **facts: Any,
) -> None:
    """Write weights, what else there is of arrays (by the name of their file), their card and the manifest's entry.

    facts: as `add_to_manifest`. The card comes after the weights, so who finds it finds them.
    """
    save_weights(folder, config, arrays)
    for name, named in more.items():
        save_arrays(folder / f"{name}.safetensors", named)
    write_atomically(folder / "README.md", lambda out: out.write(card.encode()))
    add_to_manifest(folder.name, folder=folder.parent, **facts)


def add_to_manifest(
    name: str,
    *,
    licence: str,
    data: str,
    command: str,
    metrics: dict[str, Any],
    folder: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Record the weights in `<folder>/<name>`, replacing an older entry of that name; returns the entry.

    Args:
        name: folder of the weights; with it go all its `*.safetensors` files and its `config.json`.
        licence: of the weights and of the data.
        data: data set and the part of it that was trained on.
        command: the command that trained them.
        metrics: JSON values, with the data they were measured on.
        folder: of all weights; default `checkpoints_dir()`.
    Raises:
        FileNotFoundError: if the weights are not there.
        ValueError: if another process is writing the manifest.
    """
    root = Path(folder or checkpoints_dir())
    folder = root / name
    for required in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / required).is_file():
            raise FileNotFoundError(f"{folder / required} does not exist; save the weights before recording them.")
    files = {path.name: _describe(path) for path in sorted([folder / CONFIG_FILE, *folder.glob("*.safetensors")])}
    architecture = upgraded(load_json("config", folder / CONFIG_FILE))["architecture"]
    facts = {"licence": licence, "data": data, "command": command, "metrics": metrics}
    entry = {"architecture": architecture, "files": files, **facts}
    with lock(root):
        entries = load_manifest(root) if (root / MANIFEST_FILE).is_file() else {}
        entries[name] = entry
        content = {"format": FORMAT, "weights": [{"name": n, **entries[n]} for n in sorted(entries)]}
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_atomically(root / MANIFEST_FILE, lambda out: out.write(text.encode()))
    return entry


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}
