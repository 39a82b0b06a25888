"""The tables of the documentation, read off the declarations.

python -m tfg_jax.tables README.md docs/methods.md ...        rewrites what stands between a pair of marks

<!-- table: guidance -->  ...  <!-- end -->                   every public class whose base says it is in this table
<!-- table: guidance, short -->                               without equations and settings
<!-- settings -->                                             the settings of every class of every table
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from tfg_jax.config import public_classes
from tfg_jax.declare import Declared, describe, told

HEADS = {
    "guidance": "method", "end to end": "method", "classifier-free": "transform", "samplers": "sampler",
    "schedules": "schedule", "grids": "grid", "lookaheads": "lookahead",
}  # fmt: skip
"""Every table, and what its rows are."""
MARKED = re.compile(r"(?P<open><!-- (?:table: (?P<table>[^>]+)|settings) -->\n).*?(?P<close><!-- end -->)", re.DOTALL)


def classes_of(table: str) -> list[type]:
    """The library's classes of a table, in its order."""
    return [cls for cls in public_classes() if issubclass(cls, Declared) and cls.table == table]


def method_table(table: str, *, short: bool = False) -> str:
    """The classes of a table as Markdown, what they do, cost, reduce to and where they come from.

    Args:
        table: one of `HEADS`.
        short: without settings and equations.
    """
    rows = []
    for cls in classes_of(table):
        parts = told(cls)
        settings = ", ".join(field.name for field in describe(cls) if field.name != "memory")
        name = f"`{cls.__name__}`" if short else f"`{cls.__name__}({settings})`"
        what = parts.title if short or not parts.equation else f"`{parts.equation}`"
        reduces = "" if short else parts.reduces_to
        rows.append((name, what, parts.cost, reduces, _linked(parts.source)))
    return _markdown((HEADS[table], "what it does", "cost", "reduces to", "source"), rows)


def settings_table(cls: type) -> str:
    """The settings of a class as Markdown: default, range, whether a change compiles anew, help."""
    rows = []
    for field in describe(cls):
        default = "" if field.required else f"`{field.default!r}`"
        kind = "traced" if field.traced else "static"
        rows.append((f"`{field.name}`", default, field.range, kind, field.spec.help))
    return _markdown(("setting", "default", "range", "kind", "meaning"), rows)


def all_settings() -> str:
    """The settings of every class of every table, a section each."""
    sections = [
        f"### {cls.__name__}\n\n{told(cls).title}.\n\n{settings_table(cls)}".replace("``", "`")
        for table in HEADS
        for cls in classes_of(table)
        if describe(cls)
    ]
    return "\n".join(sections)


def filled(text: str) -> str:
    """A page with what stands between its marks as the declarations say it now."""

    def table(match: re.Match) -> str:
        name, _, form = (match["table"] or "").partition(", ")
        inside = method_table(name, short=form == "short") if name else all_settings()
        return f"{match['open']}\n{inside}\n{match['close']}"

    return MARKED.sub(table, text)


def _markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table without its empty columns."""
    kept = [i for i, _ in enumerate(head) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([_cell(row[i]) for i in kept] for row in rows)]
    return "".join("|" + "|".join(f" {cell} " if cell != "---" else cell for cell in line) + "|\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", r"\|")


def _linked(source: str) -> str:
    return re.sub(r"(?<!\d)(\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", source)


def main(pages: list[str]) -> Any:
    """Rewrite the pages that are not as the declarations say."""
    for page in map(Path, pages):
        text = page.read_text("utf-8")
        if (new := filled(text)) != text:
            page.write_text(new, "utf-8")
            print(f"{page} is written")


if __name__ == "__main__":
    main(sys.argv[1:])
