"""The horizon study on mixtures with exact answers: what is computed, and where it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def run_mixtures(out: Path, quick: bool) -> Iterator[str]:
    """Compute what is missing; says what is done."""
    yield from ()


def read_mixtures(out: Path) -> dict[str, Any]:
    """Stored results by name."""
    return {}


def describe_mixtures(quick: bool) -> list[dict[str, Any]]:
    """The table of a dry run."""
    return []
