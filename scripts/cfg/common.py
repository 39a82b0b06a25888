"""What the modules share: the options of a run, results kept on disk, and work shared between processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tfg_jax import report
from tfg_jax.files import slug
from tfg_jax.locks import lock

Part = Literal["toy", "trade-off", "rivals", "matched", "temperature", "p_uncond", "steps"]
PARTS: tuple[Part, ...] = ("toy", "trade-off", "rivals", "matched", "temperature", "p_uncond", "steps")
V = 0.3  # of the paper's 64x64 models


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run and where it goes."""

    samples: int = 1000  # a row
    steps: int = 64  # T; 4 T in part steps, T / 2 in part matched
    chunk: int = 20  # small arrays stay in the cache of a CPU core
    p_uncond: tuple[float, ...] = (0.1, 0.2, 0.5)
    p_samples: int = 500  # a row of part p_uncond
    train_steps: int = 1000  # updates of each model of part p_uncond
    toy_samples: int = 20_000
    parts: tuple[Part, ...] = PARTS  # computed in the order of the page; none writes the page again from what is known
    only: str = ""  # of the image rows, those whose name holds this text
    dry_run: bool = False  # print the plan: rows, network calls and hours by part
    rate: float = 430.0  # network forwards a second that the plan reckons with
    folder: Path = Path("runs/cfg")
    page: Path = Path("docs/results/details/classifier_free.md")


@dataclasses.dataclass(frozen=True)
class Store:
    """Results by name with the hash of what they belong to, in one JSON file that several processes may add to."""

    path: Path

    def read(self) -> dict[str, Any]:
        """All of them."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, name: str, key: str) -> Any:
        """A result, or None if there is none of this hash."""
        entry = self.read().get(name, {})
        return entry.get("value") if entry.get("key") == key else None

    def put(self, name: str, key: str, value: Any) -> Any:
        """Remember and return a result."""
        with held(self.path.parent, self.path.name):  # work may be called as the file without its ending
            report.write_json(self.path, {**self.read(), name: {"key": key, "value": value}})
        return value


@contextmanager
def held(folder: Path, name: str, wait: bool = True) -> Iterator[bool]:
    """Work that one process does at a time: True if it is ours; a process that dies gives it back."""
    try:
        claim = lock(folder / "claims" / slug(name), wait)
    except ValueError:
        yield False
        return
    with claim:
        yield True
