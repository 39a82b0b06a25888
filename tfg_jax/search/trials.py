"""Trials, and the file that keeps them: one JSON line each, appended as it ends.

A line has a checksum of itself and of the search. What a killed process left half written is cut off when the search
goes on; a whole line that is not as it was written, or of another search, is refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfg_jax.files import to_builtins
from tfg_jax.metrics.intervals import Estimate
from tfg_jax.readers import parse_json
from tfg_jax.runs.claim import Kind, claim
from tfg_jax.runs.record import config_hash
from tfg_jax.search.space import Candidate

FILE = "trials.jsonl"
SEARCHES = Kind(
    own=re.compile(r"(trials\.jsonl|best\.json|report\.html|metrics\.json)"),
    leftover=re.compile(r"(search\.json|best\.json|report\.html|metrics\.json)\.tmp"),
    record="search.json", alone=False, noun="trials", other="another search",
)  # fmt: skip
"""Folders of searches."""
COST = "cost"
"""The metric of network evaluations a sample."""
CHECK = "check"
"""Of a line, its checksum."""


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

    def estimate(self, metric: str) -> Estimate:
        """A score with its interval: NaN where there is no number, infinite ends where there is no interval."""
        return Estimate.of(self.scores.get(metric, [None] * 3), self.samples)

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
    """The trials of one search, in a folder that is held until this is left as a context.

    Args:
        path: the folder, made if missing.
        config: of the search, as JSON.
        overwrite: forget the trials that are there.
    Raises:
        ValueError: it holds another search (the differing keys are named), or is written by another process.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], *, overwrite: bool = False):
        config = json.loads(json.dumps(to_builtins(config)))
        self._lock, _ = claim(path, config, SEARCHES, overwrite=overwrite)
        self.file, self._known, self._search = path / FILE, {}, config_hash(config)
        try:
            self.file.touch()
            *lines, rest = (text := self.file.read_bytes()).split(b"\n")
            for number, line in enumerate(lines, 1):
                self._keep(self._read(line, number))
            os.truncate(self.file, len(text) - len(rest))
        except BaseException:
            self._lock.release()
            raise

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
        fields = trial.to_dict()
        line = json.dumps({**fields, CHECK: self._sum(fields)}, ensure_ascii=False, allow_nan=False) + "\n"
        with self.file.open("ab") as out:
            out.write(line.encode())
            out.flush()
            os.fsync(out.fileno())
        self._keep(trial)

    def _sum(self, fields: Mapping[str, Any]) -> str:
        return config_hash({"search": self._search, "trial": fields})[:16]

    def _read(self, line: bytes, number: int) -> Trial:
        try:
            fields = parse_json(line)
            if fields.pop(CHECK) == self._sum(fields):
                return Trial.from_dict(fields)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise ValueError(f"line {number} of path={self.file} is damaged, or of another search; delete it to try its "
                         "candidate again, or pass overwrite=True to begin again")  # fmt: skip

    def _keep(self, trial: Trial) -> None:
        self._known[(trial.candidate, trial.samples, trial.round < 0)] = trial
