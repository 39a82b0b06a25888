"""`tfg-jax inspect`: what weights or a sample folder hold, without running anything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfg_jax.cli.main import OK


@dataclasses.dataclass(frozen=True)
class Options:
    """Show a configuration, parameter count, checksums and schedule of weights; or manifest and shards of a folder."""

    source: Annotated[str | None, tyro.conf.Positional] = None
    """Released name, folder of weights or sample folder; default: a table of the released weights."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["--output"])] = None
    """Also write it to this JSON file."""
    dry_run: bool = False
    """Show it, write nothing."""


def run(options: Options) -> int:
    """Read and print."""
    from tfg_jax.files import to_json, write_json
    from tfg_jax.runs.store import MANIFEST
    from tfg_jax.runs.values import url_of
    from tfg_jax.weights.describe import describe_weights

    table = None
    if options.source is None:
        table = _table(contents := _released())
    elif url_of(options.source) or (Path(options.source) / MANIFEST).is_file():
        contents = _folder(Path(options.source))
    else:
        contents = describe_weights(options.source)
    print(table or to_json(contents))
    if options.out is not None and not options.dry_run:
        write_json(options.out, contents)
    return OK


def _released() -> dict[str, Any]:
    from tfg_jax.weights.manifest import checkpoints_dir, load_manifest

    return {"folder": checkpoints_dir(), "weights": load_manifest()}


def _table(contents: dict[str, Any]) -> str:
    from tfg_jax.report import text_table

    rows = []
    for name, entry in contents["weights"].items():
        measured = next((key for key in ("test_accuracy", "test_loss") if key in entry["metrics"]), None)
        rows.append(
            {
                "name": name,
                "architecture": entry["architecture"],
                "parameters": entry["metrics"].get("parameters"),
                "MB": round(sum(file["bytes"] for file in entry["files"].values()) / 1e6, 1),
                "measured": None
                if measured is None
                else f"{measured.replace('_', ' ')} {entry['metrics'][measured]:.4g}",
                "trained on": entry["data"],
            }
        )
    return f"{text_table(rows)}\n\nin {contents['folder']}; more of one: tfg-jax inspect NAME"


def _folder(path: Path) -> dict[str, Any]:
    from tfg_jax.runs.store import read_folder

    folder = read_folder(path)
    states = list(folder.verify().values())
    counts = {state: states.count(state) for state in ("ok", "missing", "damaged")}
    missing = [[part.start, part.stop] for part in folder.missing()]
    return {"manifest": folder.manifest, "shards": counts, "missing_ranges": missing}
