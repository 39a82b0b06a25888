"""The mixtures part of the page of the horizon study: tables and figures from stored numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def mixture_sections(page: Path, mixtures: Mapping[str, Any]) -> list[str]:
    """The sections of what has been computed."""
    return []
