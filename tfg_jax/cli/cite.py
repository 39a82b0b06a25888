"""`tfg-jax cite`: BibTeX of what a configuration uses."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from tfg_jax.cli.main import OK
from tfg_jax.references import as_typed, module_named


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
    if options.all and options.allow:
        raise ValueError("--allow has no effect with --all, which names the library's own classes; drop one of them")
    from tfg_jax.citations import entries
    from tfg_jax.config import public_classes

    sys.path.insert(0, "")  # modules of the user's own lie where the command is given
    try:
        used = public_classes() if options.all else list(_used(options))
    finally:
        sys.path.remove("")
    text = "\n\n".join(entries(used).values())
    print(text)
    if options.out is not None and not options.dry_run:
        from tfg_jax.files import write_bytes

        write_bytes(options.out, (text + "\n").encode())
    return OK


def _used(options: Options) -> Iterator[type]:
    from tfg_jax.citations import configuration_of, names
    from tfg_jax.config import class_named, library, own_class

    source = options.source
    if source is not None and ":" in source and not Path(source).exists():
        yield own_class(f"{module_named('source', source)}:{source.rpartition(':')[2]}")
        return
    allow = tuple(module_named("allow", module) for module in options.allow)
    for name in dict.fromkeys(names(configuration_of(source))):
        try:
            yield library().Denoiser if name == "Denoiser" else class_named(name, allow)
        except ValueError:
            if ":" in name:
                typed = as_typed(name)
                print(f"{typed} is left out; give --allow {typed.partition(':')[0]}", file=sys.stderr)
