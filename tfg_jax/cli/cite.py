"""`tfg-jax cite`: BibTeX of what a configuration uses."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfg_jax.cli.main import OK
from tfg_jax.readers import load_json
from tfg_jax.references import as_typed, module_named

DEFAULT = {
    "guidance": {"type": "TFG"},
    "sampler": {"type": "DDIM"},
    "schedule": {"type": "VPCosine"},
    "prediction": "v",
}
PREDICTIONS = {"v": "Denoiser", "edm": "EDM"}
"""Prediction -> class whose docstring holds its paper."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Print the BibTeX entries of this library and of the papers behind a configuration."""

    source: Annotated[str | None, tyro.conf.Positional] = None
    """Sample folder, comparison folder, JSON configuration, or a class of your own, module:Class or file.py:Class;
    default: what `tfg-jax sample` uses by default."""
    all: bool = False
    """Every method of the library instead."""
    allow: tuple[str, ...] = ()
    """Modules and files of your own that may be imported for the classes of them that a configuration names."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["--output"])] = None
    """Also write it to this file."""
    dry_run: bool = False
    """Show it, write nothing."""


def run(options: Options) -> int:
    """Find the classes in the configuration and print the entries of their docstrings."""
    if options.all and options.source is not None:
        raise ValueError(f"source={options.source} has no effect with --all; drop one of them")
    from tfg_jax.config import public_classes

    sys.path.insert(0, "")  # modules of the user's own lie where the command is given
    try:
        used = public_classes() if options.all else list(_used(options))
    finally:
        sys.path.remove("")
    text = "\n\n".join(_entries(used).values())
    print(text)
    if options.out is not None and not options.dry_run:
        from tfg_jax.files import write_bytes

        write_bytes(options.out, (text + "\n").encode())
    return OK


def _entries(used: list[type]) -> dict[str, str]:
    """The library's own entry and those of classes, in the library's order, then those of the user's own."""
    from tfg_jax.config import library, public_classes
    from tfg_jax.declare import bibtex, bibtex_of_text

    found = {key: entry for cls in used for key, entry in bibtex(cls).items()}
    known = [key for cls in public_classes() for key in bibtex_of_text(cls.__doc__)]
    order = {key: rank for rank, key in enumerate(dict.fromkeys(known))}
    chosen = sorted(found, key=lambda key: order.get(key, len(order)))
    return {**bibtex_of_text(library().__doc__), **{key: found[key] for key in chosen}}


def _used(options: Options) -> Iterator[type]:
    from tfg_jax.config import class_named, library, own_class

    source = options.source
    if source is not None and ":" in source and not Path(source).exists():
        yield own_class(f"{module_named('source', source)}:{source.rpartition(':')[2]}")
        return
    allow = tuple(module_named("allow", module) for module in options.allow)
    for name in dict.fromkeys(_names(DEFAULT if source is None else _read(Path(source)))):
        try:
            yield library().Denoiser if name == "Denoiser" else class_named(name, allow)
        except ValueError:
            if ":" in name:
                typed = as_typed(name)
                print(f"{typed} is left out; give --allow {typed.partition(':')[0]}", file=sys.stderr)


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
    """Classes named anywhere in a configuration, that of its prediction, and CFG if it says "conditional"."""
    if isinstance(value, list):
        for item in value:
            yield from _names(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in ("type", "kind") and isinstance(item, str):
            yield item
        if key == "prediction" and item in PREDICTIONS:
            yield PREDICTIONS[item]
        if key == "conditional" and item is True:
            yield "CFG"
        yield from _names(item)
