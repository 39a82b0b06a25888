"""BibTeX of what a configuration uses, from the docstrings of the classes that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfg_jax.config import library, public_classes
from tfg_jax.declare import bibtex, bibtex_of_text
from tfg_jax.readers import load_json

DEFAULT = {
    "guidance": {"type": "TFG"},
    "sampler": {"type": "DDIM"},
    "schedule": {"type": "VPCosine"},
    "prediction": "v",
}
"""What `tfg-jax sample` uses by default."""
PREDICTIONS = {"v": "Denoiser", "edm": "EDM"}
"""Prediction -> class whose docstring holds its paper."""


def entries(used: Sequence[type]) -> dict[str, str]:
    """The library's own entry and those of classes, in the library's order, then those of the user's own."""
    cited = {key: entry for cls in used for key, entry in bibtex(cls).items()}
    known = [key for cls in public_classes() for key in bibtex_of_text(cls.__doc__)]
    order = {key: rank for rank, key in enumerate(dict.fromkeys(known))}
    chosen = sorted(cited, key=lambda key: order.get(key, len(order)))
    return {**bibtex_of_text(library().__doc__), **{key: cited[key] for key in chosen}}


def names(value: Any) -> Iterator[str]:
    """Classes named anywhere in a configuration, that of its prediction, and CFG if it says "conditional"."""
    if isinstance(value, list):
        for item in value:
            yield from names(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in ("type", "kind") and isinstance(item, str):
            yield item
        if key == "prediction" and item in PREDICTIONS:
            yield PREDICTIONS[item]
        if key == "conditional" and item is True:
            yield "CFG"
        yield from names(item)


def configuration_of(source: str | None) -> Any:
    """The configuration of a sample folder, a comparison folder or a JSON file; None is the default's.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: no JSON.
    """
    if source is None:
        return DEFAULT
    file = folder = Path(source)
    if not file.is_file():
        file = folder / "config.json"
    if folder.is_dir() and not file.is_file():
        file = folder / "manifest.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"source={source} holds no config.json or manifest.json; give a folder of `tfg-jax sample`"
        )
    return load_json("source", file)
