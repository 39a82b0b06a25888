"""Results pages that answer in one screen. What they say in numbers is read from the tables that a study stored.

A study writes its long page (every table, ablations, trials) with `write_details`, which stores the tables beside it as
JSON. The short page is a jinja2 template of Markdown with two functions, ``number(table, row, column)`` and
``table(columns, rows)``; `page_text` fills it in and refuses what does not fit one screen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tfg_jax.files import write_atomically
from tfg_jax.kinds import public

Tables = Mapping[str, Sequence[Mapping[str, str]]]
"""Title of a table -> its rows: column -> cell, as printed."""

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?")
MOST_SENTENCES, MOST_NUMBERS, MOST_ROWS, MOST_COLUMNS = 3, 4, 8, 5
SECTIONS = ("What to use", "Protocol", "Limits")


@public
def page_text(template: str, tables: Tables) -> str:
    """A results page as Markdown: title, question, answer, figure, table, what to use, protocol, limits.

    Args:
        template: the page, with ``{{ number(...) }}`` and ``{{ table(...) }}`` where numbers stand.
        tables: the stored tables.
    Raises:
        ValueError: a number that is not stored, an answer of more than three sentences or four numbers, a table of
            more than eight rows or five columns, no figure or more than one, or a section that is missing.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.globals.update(
        number=lambda table, row, column: number_of(cell_of(tables, table, row, column)), table=partial(_table, tables)
    )
    text = environment.from_string(template).render()
    check_page(text)
    return text


def check_page(text: str) -> None:
    """Raise ValueError unless a page fits one screen; see `page_text`."""
    title, _, answer, *_ = [*text.split("\n\n"), "", "", ""]
    counts = {
        "sentences": (len(re.findall(r"[.!?](?=\s|$)", answer)), MOST_SENTENCES),
        "numbers": (len(NUMBER.findall(answer)), MOST_NUMBERS),
        "figures": (text.count("!["), 1),
    }
    for name, (count, most) in counts.items():
        if count > most:
            raise ValueError(f"page={title!r} has {count} {name}, at most {most} fit; shorten it")
    if counts["figures"][0] == 0:
        raise ValueError(f"page={title!r} has no figure; add one")
    for section in SECTIONS:
        if f"\n## {section}\n" not in text:
            raise ValueError(f"page={title!r} lacks the section {section!r}; add it")


def _table(tables: Tables, columns: Mapping[str, str], rows: Mapping[str, tuple[str, str]]) -> str:
    """Rows of stored tables as Markdown.

    Args:
        tables: the stored tables.
        columns: stored title -> title here; the first names the rows.
        rows: name here -> (title of the stored table, name there).
    """
    for name, given, most in (("rows", rows, MOST_ROWS), ("columns", columns, MOST_COLUMNS)):
        if len(given) > most:
            raise ValueError(f"table has {len(given)} {name}, at most {most} fit; choose")
    lines = [[*columns.values()], ["---", *["---:"] * (len(columns) - 1)]]
    for name, (table, row) in rows.items():
        lines.append([name, *(cell_of(tables, table, row, column) for column in [*columns][1:])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell_of(tables: Tables, table: str, row: str, column: str) -> str:
    """A cell as printed; a row is named by its first cell, or by its first ones as ``a | b``.

    Raises:
        ValueError: no such table, row or column; the message names what there is.
    """
    if table not in tables:
        raise ValueError(f"table={table!r} is not stored; there are {', '.join(tables)}")
    for cells in tables[table]:
        if [*cells.values()][: row.count(" | ") + 1] == row.split(" | "):
            if column not in cells:
                raise ValueError(f"column={column!r} is not in {table!r}; there are {', '.join(cells)}")
            return cells[column]
    known = ", ".join(next(iter(cells.values())) for cells in tables[table])
    raise ValueError(f"row={row!r} is not in {table!r}; there are {known}")


def number_of(cell: str) -> str:
    """The first number of a cell: ``0.876`` of ``0.876 [0.86, 0.89]``. Raises ValueError if it has none."""
    match = NUMBER.search(cell)
    if match is None:
        raise ValueError(f"cell={cell!r} holds no number; choose another")
    return match[0]


@public
def tables_of(markdown: str) -> dict[str, list[dict[str, str]]]:
    """The tables of a page, by the heading they stand under; later ones of a heading are numbered from 2."""
    tables: dict[str, list[dict[str, str]]] = {}
    heading, columns, rows = "", [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        if not line.startswith("|"):
            if rows:
                count = 1 + sum(title == heading or title.startswith(f"{heading}, ") for title in tables)
                tables[heading if count == 1 else f"{heading}, {count}"] = rows
            columns, rows = [], []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not columns:
            columns = cells
        elif not all(set(cell) <= set("-: ") for cell in cells):
            rows.append(dict(zip(columns, cells, strict=True)))
    return tables


@public
def write_details(path: Path, markdown: str) -> None:
    """A study's long page, and beside it its tables as JSON, from which the short page is filled in."""
    write_atomically(path, lambda file: file.write(markdown.encode()))
    text = json.dumps(tables_of(markdown), indent=1, ensure_ascii=False) + "\n"
    write_atomically(path.with_suffix(".json"), lambda file: file.write(text.encode()))
