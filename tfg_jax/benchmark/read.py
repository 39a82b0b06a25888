"""Suites by their names and files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tfg_jax.benchmark.check import check
from tfg_jax.benchmark.suite import Suite
from tfg_jax.benchmark.tables import Unfit, suite_of
from tfg_jax.kinds import public
from tfg_jax.readers import load_toml

FOLDER = Path(__file__).parent / "suites"


@public
def suite_names() -> list[str]:
    """Suites that the library brings."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


@public
def read_suite(name_or_path: str | Path) -> Suite:
    """A suite of the library by its name, or one of your own by its file.

    Args:
        name_or_path: one of `suite_names`, or a file that ends in ``.toml``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown name, a file that is no TOML, or a key or value that cannot be meant; says where it is.
    """
    text = str(name_or_path)
    named = text in suite_names()
    if not named and not text.endswith(".toml"):
        raise ValueError(
            f"suite={text!r:.60} is unknown; choose one of {', '.join(suite_names())}, or give a file.toml"
        )
    file = FOLDER / f"{text}.toml" if named else Path(text)
    return checked(load_toml("suite", file), file)


def checked(values: Any, file: Path) -> Suite:
    """The suite of a file's values. Raises ValueError for what cannot be meant."""
    try:
        suite = dataclasses.replace(suite_of(values), name=file.stem)
        check(suite)
    except Unfit as error:
        raise ValueError(f"suite={file} has a fault: {error}") from None
    return suite
