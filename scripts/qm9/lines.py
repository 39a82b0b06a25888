"""Lines of the tables of the page of molecules, from stored numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfg_jax.data.qm9 import PROPERTIES
from tfg_jax.metrics import Estimate, mean_ci
from tfg_jax.metrics.xtb import KNOWN, read_lines
from tfg_jax.runs.study import Row
from tfg_jax.weights.manifest import load_manifest

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """The rows of a study and the results that are known."""

    rows: Sequence[Row]
    known: Mapping[str, Result]

    def of(self, part: str, name: str | None = None) -> list[Row]:
        """Rows of a table, and of a property."""
        return [row for row in self.rows if row.table == part and name in (None, row.labels["property"])]

    def properties(self, part: str) -> list[str]:
        """That a table asks for."""
        return list(dict.fromkeys(row.labels["property"] for row in self.of(part)))

    def report(self, part: str, name: str, word: str) -> Result | None:
        """Of one row; None if it is not known."""
        result = self.known.get(f"{part}/{name}/{word}")
        return None if result is None else result["report"]

    def guided(self, part: str, name: str) -> list[tuple[Row, Result]]:
        """Rows that sampled, with their results."""
        known = [(row, self.known[row.name]) for row in self.of(part, name) if row.name in self.known]
        return [(row, result) for row, result in known if "atom_stability" in result["report"]["numbers"]]

    def reports(self, part: str, name: str) -> list[Result]:
        """Reports of rows that sampled."""
        return [result["report"] for _, result in self.guided(part, name)]


def in_full(name: str, who: str = "") -> str:
    """A property with its unit, as the header of a column."""
    return f"{name}{', ' * bool(who)}{who} ({PROPERTIES[name][2]})"


def share(numbers: Result, key: str, n: int | None = None) -> Estimate | None:
    """A number with its interval, whose ends are null where there is none; None if it is not there."""
    if numbers.get(key) is None:
        return None
    stored = numbers[key]
    stored = stored if isinstance(stored, list) else [stored, numbers.get(f"{key}_low"), numbers.get(f"{key}_high")]
    return Estimate.of(stored, numbers["samples"] if n is None else n)


def error_of(report: Result, name: str, who: str = "error") -> Estimate | None:
    """The error of a property by the evaluator, or another; None if all failed or it was not asked."""
    return share(report["numbers"], f"{who}_{name}")


def gain(report: Result, base: Result | None, key: str) -> Estimate | None:
    """Mean of the base's error less that of the same request; None without pairs."""
    if base is None or report is base or key not in report.get("each", {}) or key not in base.get("each", {}):
        return None
    pairs = zip(base["each"][key], report["each"][key], strict=False)
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    return mean_ci(np.asarray(differences)) if len(differences) > 1 else None


def row_lines(rows: Rows, part: str, name: str) -> list[dict[str, Any]]:
    """The rows of one table."""
    base, lines = rows.report(part, name, "greedy"), []
    for row, result in rows.guided(part, name):
        report, trials = result["report"], result["trials"]
        numbers, edge = report["numbers"], len(trials) > 2 and result["kept"] in (0, len(trials) - 1)
        line: dict[str, Any] = {"row": row.labels["row"]}
        for each in [key.removeprefix("error_") for key in numbers if key in ERRORS]:
            line[in_full(each, "evaluator")] = error_of(report, each)
            line[in_full(each, "xtb")] = error_of(report, each, "quantum_error")
            line[in_full(each, "guide")] = numbers.get(f"guide_error_{each}")
            line[f"gain in {each}"] = gain(report, base, f"error_{each}")
            line[f"gain in {each} by xtb"] = gain(report, base, f"quantum_error_{each}")
        line |= {
            "stable atoms": share(numbers, "atom_stability"), "stable molecules": share(numbers, "molecule_stability"),
            "valid": share(numbers, "validity"), "failed": numbers["failed_samples"],
            "failed by xtb": numbers.get("quantum_failed"), "n": numbers["samples"], "evaluations": spent(numbers),
            "what": row.shown.get("what", ""), "setting": report["setting"] + ", edge" * edge,
        }  # fmt: skip
        lines.append(line)
    used = {key for line in lines for key, value in line.items() if value is not None}
    return [{key: value for key, value in line.items() if key in used} for line in lines]


ERRORS = {f"error_{name}" for name in PROPERTIES}


def spent(numbers: Result) -> float:
    """Network evaluations of a molecule, as counted."""
    return numbers["network_forwards_per_sample"] + numbers["network_pullbacks_per_sample"]


def generator_line(report: Result) -> dict[str, Any]:
    """Our generator."""
    numbers = report["numbers"]
    keys = {"stable atoms": "atom_stability", "stable molecules": "molecule_stability", "valid": "validity",
            "unique of the valid": "uniqueness", "new of the unique": "novelty"}  # fmt: skip
    line = {"model": "ours"} | {title: share(numbers, key) for title, key in keys.items()}
    return line | {"failed": numbers["failed_samples"], "n": numbers["samples"]}


def ladder_lines(options: Any, rows: Rows) -> list[dict[str, Any]]:
    """One line a property; what no row knows yet is left out."""
    entries, fitted = load_manifest(), fits()
    lines = []
    for name in options.properties:
        result = rows.known.get(f"ladder {name}")
        line: dict[str, Any] = {"property": in_full(name)}
        if result is not None:
            report = result["report"]
            line |= {"random": report["random"], "#Atoms": report["atoms"], "unguided": error_of(report, name)}
            line["unguided, xtb"] = error_of(report, name, "quantum_error")
        for role in ("evaluator", "guide"):
            metrics = entries.get(getattr(options, role), {}).get("metrics", {})
            line[role] = metrics.get("mean_absolute_error", {}).get(name)
        lines.append(line | {"xtb": fitted.get(name)})
    return lines


def fits() -> dict[str, float]:
    """Errors of the quantum program's lines on QM9's molecules."""
    import json
    from importlib import resources

    from tfg_jax.metrics.xtb import FILE

    read_lines()
    table = json.loads(resources.files("tfg_jax.metrics").joinpath(FILE).read_text("utf-8"))["properties"]
    return {name: table[name]["error"] for name in KNOWN if name in table}
