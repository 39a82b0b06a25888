"""What weights hold, without building a network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tfg_jax.weights.manifest import checkpoints_dir, load_manifest, sha256_of
from tfg_jax.weights.store import read_weights


def describe_weights(source: str) -> dict[str, Any]:
    """Configuration, parameter count, arrays and checksums of weights by released name or folder.

    Raises FileNotFoundError for what is neither, ValueError for damaged files.
    """

    folder, entry = Path(source), None
    try:
        entry = load_manifest().get(source)
    except FileNotFoundError:
        pass
    if entry is not None:
        folder = checkpoints_dir() / source
    elif not folder.is_dir():
        raise FileNotFoundError(
            f"source={source!r} is no released name, weights or sample folder; try `tfg-jax inspect`"
        )
    config, arrays = read_weights(folder, sha256_of(entry) if entry is not None else None)
    sizes = {name: list(array.shape) for name, array in arrays.items()}
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".safetensors")]
    return {
        "config": json.loads(json.dumps(config)),
        "parameters": sum(array.size for array in arrays.values()),
        "arrays": len(sizes),
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "manifest": entry,
    }
