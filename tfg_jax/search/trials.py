"""Trials, and the file that keeps them: one JSON line each, appended as it ends, below a line that says of what.

A line counts if it ends and can be read; what a killed process left half written is cut off when the search goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfg_jax.files import to_builtins, write_bytes
from tfg_jax.locks import FolderLock
from tfg_jax.runs.claim import Kind, claim
from tfg_jax.runs.store import config_hash
from tfg_jax.search.space import Candidate

SCHEMA, FILE = "tfg_jax.search/1", "trials.jsonl"
COST = "cost"
"""The metric of network evaluations a sample."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One candidate on some samples.

    Attributes:
        candidate: what was tried.
        samples: how many, whose scores these are.
        round: of the search; -1 is the report, on a seed of its own.
        seeds: roots of the random numbers.
        scores: of every metric of the aim its value and the ends of its interval, None where there is no number.
        cost: network evaluations (forwards and pullbacks) a sample, at most.
        evaluations: network evaluations that it added to the search; samples of an earlier trial are used again.
        seconds: that it took.
    """

    candidate: Candidate
    samples: int
    round: int
    seeds: tuple[int, ...]
    scores: Mapping[str, Any]
    cost: float
    evaluations: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return to_builtins({**fields, "candidate": self.candidate.by_name})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """The inverse of `to_dict`."""
        fields = {field.name: data[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**fields, "candidate": Candidate.of(data["candidate"]), "seeds": tuple(data["seeds"])})


class TrialFile:
    """The trials of one search, in a folder that it holds; made by `open_trials`, used as a context manager."""

    def __init__(self, file: Path, lock: FolderLock, trials: list[Trial]):
        self.file, self._lock = file, lock
        self._known = {(t.candidate, t.samples, t.round < 0): t for t in trials}

    def __enter__(self) -> TrialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def known(self, candidate: Candidate, samples: int, report: bool = False) -> Trial | None:
        """The stored trial of a candidate on so many samples; None if there is none."""
        return self._known.get((candidate, samples, report))

    def append(self, trial: Trial) -> None:
        """Keep a trial, which is on disk when this returns."""
        self._lock.check()
        line = json.dumps(trial.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        with self.file.open("ab") as out:
            out.write(line.encode())
            out.flush()
            os.fsync(out.fileno())
        self._known[(trial.candidate, trial.samples, trial.round < 0)] = trial


def _lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, up to the first that cannot be read."""
    lines = []
    for line in file.read_bytes().split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _header(file: Path) -> Mapping[str, Any]:
    header = _lines(file)[0]
    if header["schema"] != SCHEMA or header["config_hash"] != config_hash(header["config"]):
        raise ValueError(f"{file} is not as it was written")
    return header["config"]


SEARCHES = Kind(
    own=re.compile(r"(trials\.jsonl|best\.json|report\.html|metrics\.json)"),
    leftover=re.compile(r"(trials\.jsonl|best\.json|report\.html|metrics\.json)\.tmp"),
    record=FILE, recorded=False, read=_header, alone=False, noun="trials", other="another search",
)  # fmt: skip
"""Folders of searches, known by the first line of their trials."""


def open_trials(path: Path, config: Mapping[str, Any], *, overwrite: bool = False) -> TrialFile:
    """Take a folder for a search, with the trials that are in it.

    Raises:
        ValueError: it holds another search (the differing keys are named), or is written by another process.
    """
    config = json.loads(json.dumps(to_builtins(config)))
    lock, known = claim(path, config, SEARCHES, overwrite=overwrite)
    try:
        file = path / FILE
        lines = _lines(file) if known is not None else []
        head = {"schema": SCHEMA, "config_hash": config_hash(config), "config": config}
        kept = [json.dumps(line, ensure_ascii=False) for line in lines] or [json.dumps(head, ensure_ascii=False)]
        write_bytes(file, ("\n".join(kept) + "\n").encode())  # without what a killed process left half written
        return TrialFile(file, lock, [Trial.from_dict(line) for line in lines[1:]])
    except BaseException:
        lock.release()
        raise
