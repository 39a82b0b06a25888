"""`tfg-jax cite`: BibTeX of what a configuration uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfg_jax.cli.bibliography import ENTRIES, SOURCES
from tfg_jax.cli.main import OK
from tfg_jax.readers import load_json

DEFAULT = {
    "guidance": {"type": "TFG"},
    "sampler": {"type": "DDIM"},
    "schedule": {"type": "VPCosine"},
    "prediction": "v",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Print the BibTeX entries of this library and of the papers behind a configuration."""

    source: Annotated[Path | None, tyro.conf.Positional] = None
    """Sample folder, comparison folder, or JSON configuration; default: what `tfg-jax sample` uses by default."""
    all: bool = False
    """Every method of the library instead."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["--output"])] = None
    """Also write it to this file."""
    dry_run: bool = False
    """Show it, write nothing."""


def run(options: Options) -> int:
    """Find the names in the configuration and print their entries."""
    if options.all and options.source is not None:
        raise ValueError(f"source={options.source} has no effect with --all; drop one of them")
    names = set(SOURCES) if options.all else set(_names(DEFAULT if options.source is None else _read(options.source)))
    keys = {"tfg_jax", *(key for name in names for key in SOURCES.get(name, ()))}
    text = "\n\n".join(entry for key, entry in ENTRIES.items() if key in keys)
    print(text)
    if options.out is not None and not options.dry_run:
        from tfg_jax.files import write_bytes

        write_bytes(options.out, (text + "\n").encode())
    return OK


def _read(source: Path) -> Any:
    file = source if source.is_file() else source / "config.json"
    if source.is_dir() and not file.is_file():
        file = source / "manifest.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"source={source} holds no config.json or manifest.json; give a folder of `tfg-jax sample`"
        )
    return load_json("source", file)


def _names(value: Any) -> Iterator[str]:
    """Types and kinds named anywhere in a configuration, its prediction, and "conditional" if it says so."""
    if isinstance(value, list):
        for item in value:
            yield from _names(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in ("type", "kind", "prediction") and isinstance(item, str):
            yield item
        if key == "conditional" and item is True:
            yield key
        yield from _names(item)
