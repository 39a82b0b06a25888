"""The viewer of molecules on a page: the library 3Dmol.js, found on this machine and put into the page itself."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib.resources import files
from pathlib import Path

LIBRARY = "3Dmol-min.js"
ENVIRONMENT_VARIABLE = "TFG_JAX_DATA"
HOW = (
    "For molecules that turn under the mouse, run `npm install 3dmol` in the working directory, or put its "
    f"build/{LIBRARY} into the folder ${ENVIRONMENT_VARIABLE}, and write the report again."
)
# What would end the script, or begin what hides its end, written as JavaScript reads the same text.
_BREAKS_OUT = re.compile(r"<(?=/script|script)|<(?=!--)", re.IGNORECASE)


def find_viewer(path: str | os.PathLike[str] | None = None) -> str:
    """The text of 3Dmol.js; empty if none is found.

    Args:
        path: of it; None looks in ``$TFG_JAX_DATA/3Dmol-min.js`` and ``node_modules/3dmol/build/3Dmol-min.js``.
    Raises:
        ValueError: a given path that holds no such library.
    """
    if path is not None:
        if text := _read(Path(path)):
            return text
        raise ValueError(f"viewer={str(path)!r} is no {LIBRARY} that can be read; `npm install 3dmol` brings one")
    root = os.environ.get(ENVIRONMENT_VARIABLE)
    candidates = [Path(root) / LIBRARY] if root else []
    return next(filter(None, map(_read, [*candidates, Path("node_modules") / "3dmol" / "build" / LIBRARY])), "")


def viewer_scripts(library: str) -> list[str]:
    """What the page runs, in order: the library, and what shows the chosen molecule."""
    return [inline(library), inline(files("tfg_jax.report").joinpath("viewer.js").read_text("utf-8"))]


def inline(script: str) -> str:
    """JavaScript that cannot end the element it stands in: a ``<`` that could, inside its texts, becomes its code."""
    script = script.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return _BREAKS_OUT.sub(r"\\x3c", script)


def policy(script: str) -> str:
    """What a page's policy allows a script by: its hash, so that no other runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def _read(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError):
        return ""
    return text if "3Dmol" in text else ""
