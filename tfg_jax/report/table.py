"""Tables from rows of plain dicts: text for a terminal, Markdown for a page; pages lay out the same cells."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from tfg_jax.checks import check_count
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate

Row = Mapping[str, Any]
# What Markdown would read as more than text; inside a word an underscore is one.
MARKUP = re.compile(r"[\\`*|~]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|](?=[(\[])")


@dataclass(frozen=True)
class Column:
    """One column: the rows' key, the header's title (default the key) and its unit, shown in brackets."""

    key: str
    title: str = ""
    unit: str = ""

    @property
    def header(self) -> str:
        """Title and unit, as in `time (s)`."""
        return (self.title or self.key.replace("_", " ")) + (f" ({self.unit})" if self.unit else "")


@dataclass(frozen=True)
class Cells:
    """A table as text: headers, rows of cells, and which columns hold numbers (and are aligned right)."""

    headers: list[str]
    rows: list[list[str]]
    numeric: list[bool]


def cells(rows: Sequence[Row], columns: Sequence[str | Column] = ()) -> Cells:
    """Format rows of values.

    rows: dicts; a missing key leaves a dash. columns: keys or `Column`s in order; default every key, in order of
    first appearance. Raises ValueError for a column that no row has, when there are rows.
    """
    chosen = [Column(c) if isinstance(c, str) else c for c in columns or dict.fromkeys(k for row in rows for k in row)]
    for column in chosen:
        if rows and not any(column.key in row for row in rows):
            raise ValueError(f"columns names {column.key!r}, which no row has; the rows have {sorted(rows[0])}.")
    values = [[row.get(c.key) for c in chosen] for row in rows]
    numeric = [all(_is_number(v) for v in column if v is not None) for column in zip(*values, strict=True)]
    return Cells(
        [c.header for c in chosen], [[show(v) for v in row] for row in values], numeric or [False] * len(chosen)
    )


def show(value: Any) -> str:
    """A value as a short text: 4 significant digits, estimates with their interval, a dash for nothing or NaN."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if abs(value) < 1e4 or not isfinite(value) else f"{value:.0f}"
    return " ".join(str(value).split())


@public
def counted(n: int, noun: str) -> str:
    """A count with its noun: `1 image`, `5000 images`."""
    check_count("n", n, low=0)
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@public
def with_failed(n: int, failed: int, noun: str = "sample") -> str:
    """How many there are and how many of them failed: `5000 samples, none failed`, `80 samples, 2 of them failed`."""
    check_count("failed", failed, low=0)
    rest = "none failed" if not failed else "which failed" if n == 1 else f"{failed} of them failed"
    return f"{counted(n, noun)}, {rest}"


@public
def text_table(rows: Sequence[Row], columns: Sequence[str | Column] = ()) -> str:
    """An aligned plain-text table with a rule under the header; arguments as `cells`."""
    table = cells(rows, columns)
    lines = _aligned(table, [table.headers, *table.rows])
    rule = "  ".join("-" * len(cell) for cell in lines[0])
    return "\n".join(["  ".join(lines[0]).rstrip(), rule, *("  ".join(line).rstrip() for line in lines[1:])])


@public
def markdown_table(rows: Sequence[Row], columns: Sequence[str | Column] = ()) -> str:
    """A Markdown table, aligned in the source too; cells are text, whatever they hold. Arguments as `cells`."""
    table = cells(rows, columns)
    lines = _aligned(table, [[as_markdown(c) for c in line] for line in [table.headers, *table.rows]])
    rule = [
        "-" * (len(c) - 1) + ":" if right else "-" * len(c) for c, right in zip(lines[0], table.numeric, strict=True)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def as_markdown(text: str) -> str:
    """Text as Markdown that shows it as it is: tags, entities, links, emphasis, code and cells' bars are escaped."""
    return MARKUP.sub(lambda mark: {"<": "&lt;", "&": "&amp;"}.get(mark[0], f"\\{mark[0]}"), text)


def _aligned(table: Cells, lines: list[list[str]]) -> list[list[str]]:
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, table.numeric, strict=True)]
        for line in lines
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | Estimate) and not isinstance(value, bool)
