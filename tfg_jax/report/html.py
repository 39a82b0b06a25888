"""Self-contained HTML reports: sections given as data, every text escaped, images inside the page, no scripts."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfg_jax.kinds import public
from tfg_jax.report import table
from tfg_jax.report.files import to_json, write_bytes
from tfg_jax.report.images import Pixels, png_data_uri
from tfg_jax.report.style import STYLE
from tfg_jax.report.svg import Svg


@runtime_checkable
class Block(Protocol):
    """A piece of a section; `html()` returns its markup with every text escaped."""

    def html(self) -> str: ...


@dataclass(frozen=True)
class Text:
    """A paragraph; `warning` sets it apart."""

    text: str
    warning: bool = False

    def html(self) -> str:
        """`<p>`."""
        kind = ' class="warning" role="note"' if self.warning else ""
        return f"<p{kind}>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Numbers:
    """The few key numbers of a run, name to value."""

    values: Mapping[str, Any]

    def html(self) -> str:
        """`<dl>`."""
        items = (f"<div><dt>{escape(k)}</dt><dd>{escape(table.show(v))}</dd></div>" for k, v in self.values.items())
        return f'<dl class="numbers">{"".join(items)}</dl>'


@dataclass(frozen=True)
class Table:
    """A table from dict rows; columns and formatting as `tfg_jax.report.table.cells`."""

    rows: Sequence[table.Row]
    columns: Sequence[str | table.Column] = ()
    caption: str = ""

    def html(self) -> str:
        """`<table>` in a box that scrolls sideways where the page is narrow."""
        laid = table.cells(self.rows, self.columns)
        kinds = [' class="number"' if right else "" for right in laid.numeric]
        head = "".join(f'<th scope="col"{k}>{escape(h)}</th>' for h, k in zip(laid.headers, kinds, strict=True))
        body = "".join(
            "<tr>" + "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>"
            for row in laid.rows
        )
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


@dataclass(frozen=True)
class Figure:
    """A picture, uint8 pixels or a chart of this package, with the text that replaces it (`alt`) and a caption."""

    picture: Pixels | Svg
    alt: str
    caption: str = ""

    def html(self) -> str:
        """`<figure>`."""
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        if isinstance(self.picture, Svg):
            return f'<figure aria-label="{escape(self.alt)}">{self.picture}{caption}</figure>'
        return f"<figure>{_image(self.picture, self.alt)}{caption}</figure>"


@dataclass(frozen=True)
class Card:
    """One sample: title, picture, facts about it, and whether it is flagged (failed or missed), with the reason."""

    title: str
    picture: Pixels
    facts: Mapping[str, Any]
    flag: str = ""

    def html(self) -> str:
        """`<li>`."""
        facts = "".join(
            f"<div><dt>{escape(k)}</dt><dd>{escape(table.show(v))}</dd></div>" for k, v in self.facts.items()
        )
        flag = f'<p class="flag">{escape(self.flag)}</p>' if self.flag else ""
        kind = ' class="flagged"' if self.flag else ""
        picture = _image(self.picture, self.title)
        return f"<li{kind}>{picture}<h3>{escape(self.title)}</h3><dl>{facts}</dl>{flag}</li>"


@dataclass(frozen=True)
class Cards:
    """Sample cards side by side."""

    cards: Sequence[Card]

    def html(self) -> str:
        """`<ul>`."""
        return f'<ul class="cards">{"".join(card.html() for card in self.cards)}</ul>'


@dataclass(frozen=True)
class Config:
    """A configuration as JSON, folded until opened."""

    values: Mapping[str, Any]
    summary: str = "Show the configuration"

    def html(self) -> str:
        """`<details>`."""
        return f"<details><summary>{escape(self.summary)}</summary><pre>{escape(to_json(self.values))}</pre></details>"


@dataclass(frozen=True)
class Section:
    """A titled part of a report."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    def html(self) -> str:
        """`<section>`."""
        return f"<section><h2>{escape(self.title)}</h2>{''.join(block.html() for block in self.blocks)}</section>"


@public
def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> Path:
    """Write a self-contained page atomically; nothing in it refers to another file or address."""
    return write_bytes(path, page(title, sections).encode())


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole HTML document."""
    # The policy holds even if some text slipped through unescaped: no script runs and nothing is fetched.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(section.html() for section in sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _image(pixels: np.ndarray, alt: str) -> str:
    height, width = pixels.shape[:2]
    return f'<img src="{png_data_uri(pixels)}" alt="{escape(alt)}" width="{width}" height="{height}">'
