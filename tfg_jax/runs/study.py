"""A study: a list of rows that answer a question, each computed once and kept.

    rows.json    the result of every finished row, with all that it depends on and a checksum
    claims/      which row a living process computes: processes may work side by side on one folder

A row says what it is (as JSON), what it costs, and how one of its choices is measured, mostly by the numbers of a `Run`
whose samples have a folder of their own. With several choices each is tried first, on a seed apart, and the best one is
reported. Stopped at any moment, a study goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tfg_jax.files import read_json, slug, to_builtins, write_bytes
from tfg_jax.locks import lock
from tfg_jax.runs.record import config_hash
from tfg_jax.runs.values import refuse_url

RESULTS, CHECK = "rows.json", "sha256"

Result = Mapping[str, Any]
"""Of a row: config, inputs, kept (number of the choice), trials and report (what was measured), seconds."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: unique in its study.
        table: what it belongs to.
        config: all that decides its result, as JSON; a stored result of another one counts as missing.
        measure: numbers of a choice, as JSON; True as second argument for a trial, which then has a ``score``, the
            larger the better. ``seconds`` in them are summed.
        choices: what is tuned, as `measure` takes it; with one there is nothing to try.
        samples: of report and trials together.
        evaluations: network evaluations of a sample.
        seconds: that it is expected to take.
        labels: words by which `Study.selected` knows it, by kind; none are its table and its name.
        shown: what a plan says of it besides.
        claim: rows of one claim are not computed side by side; default its name.
        inputs: what its result depends on besides, as JSON, such as hashes of weights; called before it is computed
            and to compare a stored result with, so that the plan of a new folder loads no network.
    """

    name: str
    table: str
    config: Mapping[str, Any]
    measure: Callable[[Any, bool], Mapping[str, Any]]
    choices: Sequence[Any] = (None,)
    samples: int = 0
    evaluations: float = 0
    seconds: float = 0.0
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    claim: str = ""
    inputs: Callable[[], Mapping[str, Any]] = dict

    @property
    def kinds(self) -> dict[str, str]:
        """The words it is known by, by their kind."""
        return {kind: str(word) for kind, word in (self.labels or {"table": self.table, "row": self.name}).items()}

    def tune(self) -> tuple[int, list[Mapping[str, Any]]]:
        """Number of the best choice, and the numbers of every trial."""
        trials = [self.measure(choice, True) for choice in self.choices] if len(self.choices) > 1 else []
        return max(range(len(trials)), key=lambda i: trials[i]["score"], default=0), trials

    def result(self) -> Result:
        """All about it: trials, and the report of the best."""
        best, trials = self.tune()
        report = self.measure(self.choices[best], False)
        seconds = sum(each.get("seconds", 0.0) for each in (*trials, report))
        return {"config": self.config, "inputs": self.inputs(), "kept": best, "trials": trials, "report": report,
                "seconds": seconds}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Study:
    """Rows, kept in a folder.

    Attributes:
        folder: where results lie.
        rows: all of them, in the order they are computed in.
    """

    folder: Path
    rows: Sequence[Row]

    def __post_init__(self) -> None:
        refuse_url("path", self.folder)

    def selected(self, only: Iterable[str] = ()) -> list[Row]:
        """Rows by their words, of each kind all if none is named; ValueError for a word that no row has."""
        wanted, words = set(only), {}
        for row in self.rows:
            for kind, word in row.kinds.items():
                words.setdefault(kind, {})[word] = None
        if unknown := sorted(wanted - {word for each in words.values() for word in each}):
            *kinds, last = words
            known = ", ".join(sorted({word for each in words.values() for word in each}))
            raise ValueError(f"only={' '.join(unknown)!r} is no {', '.join(kinds)} or {last}; choose of {known}")
        kept = {kind: wanted & set(each) or set(each) for kind, each in words.items()}
        return [row for row in self.rows if all(word in kept[kind] for kind, word in row.kinds.items())]

    def stored(self) -> dict[str, Result]:
        """Results by the names of rows, whatever they depend on; one that was altered is none."""
        stored = read_json(self.folder / RESULTS)
        return {name: each for name, each in stored.items() if _whole(each)} if isinstance(stored, dict) else {}

    def known(self) -> dict[str, Result]:
        """Results that the rows have, by name, whatever their inputs."""
        stored = self.stored()
        return {row.name: stored[row.name] for row in self.rows if _fits(stored.get(row.name), config=row.config)}

    def missing(self, only: Iterable[str] = ()) -> list[Row]:
        """Rows without a result."""
        known = self.known()
        return [row for row in self.selected(only) if row.name not in known]

    def plan(self, only: Iterable[str] = ()) -> list[dict[str, Any]]:
        """What it costs, row by row, before anything runs."""
        known = self.known()
        return [
            {
                **row.kinds, **row.shown, "evaluations": row.evaluations, "samples": row.samples,
                "all evaluations": int(row.evaluations * row.samples), "minutes": round(row.seconds / 60, 1),
                "done": "yes" if row.name in known else "",
            }
            for row in self.selected(only)
        ]  # fmt: skip

    def compute(self, only: Iterable[str] = ()) -> Iterator[tuple[Row, Result | None]]:
        """Every row with its result, computed unless it is known; None for a row of another living process.

        Raises `Interrupted` on a signal while samples are computed, after the chunk at hand is on disk.
        """
        for row in self.selected(only):
            if (result := self._current(row)) is None:
                try:
                    claim = lock(self.folder / "claims" / slug(row.claim or row.name))
                except ValueError:
                    yield row, None
                    continue
                except OSError as error:
                    why = f"is no writable folder ({error.strerror}); choose another"
                    raise ValueError(f"path={self.folder} {why}") from error
                with claim:
                    if self._current(row) is None:  # it may have been finished while it was taken
                        self._store(row.name, row.result())
                        jax.clear_caches()  # the programs of all rows together can be more than a process may map
                result = self._current(row)
            yield row, result

    def _current(self, row: Row) -> Result | None:
        result = self.stored().get(row.name)
        return result if _fits(result, config=row.config, inputs=row.inputs()) else None

    def _store(self, name: str, result: Result) -> None:
        result, file = to_builtins(result), self.folder / RESULTS
        with lock(self.folder / "claims", wait=True):
            stored = self.stored()
            if not stored and file.exists():  # what cannot be read may be hours of work: it is not written over
                os.replace(file, file.with_name(f"{RESULTS}.damaged"))
            stored[name] = {**result, CHECK: config_hash(result)}
            text = json.dumps(to_builtins(stored), indent=1, ensure_ascii=False, allow_nan=False)
            write_bytes(file, f"{text}\n".encode())  # not sorted: tables keep the order of columns


def _whole(result: Any) -> bool:
    """Whether it is a result as it was written; those of earlier versions have no checksum."""
    try:
        fields = {**result}
        return (check := fields.pop(CHECK, None)) is None or check == config_hash(fields)
    except (TypeError, ValueError):
        return False


def _fits(result: Result | None, **wanted: Any) -> bool:
    """Whether a stored result is of these values."""
    return result is not None and all(result.get(key) == to_builtins(value) for key, value in wanted.items())
