"""Reports as data: sections of text, numbers, tables, pictures and charts, as one HTML file or a Markdown page."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from tfg_jax.files import to_json, write_atomically, write_bytes, write_json
from tfg_jax.kinds import public
from tfg_jax.report.charts import Chart, save_chart, svg_data_uri
from tfg_jax.report.images import Pixels, png_data_uri, save_png
from tfg_jax.report.table import Column, Row, as_markdown, cells, counted, markdown_table, show
from tfg_jax.report.viewer import policy, viewer_scripts


@dataclass(frozen=True)
class Text:
    """A paragraph, `warning` sets it apart; a Markdown page takes it as Markdown."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Numbers:
    """The few key numbers of a run, name to value."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table from dict rows; columns and formatting as `tfg_jax.report.table.cells`."""

    rows: Sequence[Row]
    columns: Sequence[str | Column] = ()
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture, uint8 pixels or a chart, with the text that replaces it (`alt`), a caption, and the end of its file's
    name beside a Markdown page."""

    picture: Pixels | Chart
    alt: str
    caption: str = ""
    name: str = ""


@dataclass(frozen=True)
class Card:
    """One sample: title, picture, facts about it, and whether it is flagged (failed or missed), with the reason."""

    title: str
    picture: Pixels
    facts: Mapping[str, Any]
    flag: str = ""


@dataclass(frozen=True)
class Cards:
    """Sample cards side by side."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Viewer:
    """Molecules that turn under the mouse, chosen by their name: the text of an SDF file each, and of 3Dmol.js."""

    molecules: Mapping[str, str]
    library: str = field(repr=False)


@dataclass(frozen=True)
class Config:
    """A configuration as JSON, folded until opened."""

    values: Mapping[str, Any]
    summary: str = "Show the configuration"


Block = Text | Numbers | Table | Figure | Cards | Viewer | Config


@dataclass(frozen=True)
class Section:
    """A titled part of a report."""

    title: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Report:
    """A page and the files beside it.

    Attributes:
        title, sections: of the page.
        question: what the page answers, under its title.
        numbers: for metrics.json; empty leaves it out.
        picture: for grid.png; None leaves it out.
        files: more of them by name: functions that give their parts.
    """

    title: str
    sections: Sequence[Section]
    question: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    picture: Pixels | None = None
    files: Mapping[str, Callable[[], Iterable[bytes]]] = field(default_factory=dict)

    def html(self) -> str:
        """The page as one self-contained document, every text in it escaped; only a `Viewer` brings scripts."""
        viewer = next((b for section in self.sections for b in section.blocks if isinstance(b, Viewer)), None)
        return _template().render(report=self, scripts=viewer_scripts(viewer.library) if viewer else [])

    def write(self, folder: str | os.PathLike[str]) -> None:
        """metrics.json, grid.png, report.html and `files` in a folder, made if missing; each file atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.numbers:
            write_json(folder / "metrics.json", self.numbers)
        if self.picture is not None:
            save_png(folder / "grid.png", self.picture)
        for name, parts in self.files.items():
            write_atomically(folder / name, lambda out, parts=parts: out.writelines(parts()))
        write_bytes(folder / "report.html", self.html().encode())

    def markdown(self, page: Path) -> str:
        """The text of a Markdown page, whose pictures are written beside it as `<stem>_<name>.png`, atomically."""
        lines = [f"# {as_markdown(self.title)}\n", *([f"{self.question}\n"] if self.question else [])]
        for section in self.sections:
            lines += [f"## {as_markdown(section.title)}\n"] if section.title else []
            for block in section.blocks:
                lines += _as_markdown(block, page)
        return "\n".join(lines)


@public
def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> Path:
    """Write a self-contained page atomically; nothing in it refers to another file or address."""
    return write_bytes(path, Report(title, sections).html().encode())


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"show": show, "json": to_json, "png": png_data_uri, "svg": svg_data_uri, "policy": policy}
    environment.globals["cells"] = cells
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.tests["chart"] = lambda picture: isinstance(picture, Chart)
    return environment.from_string(files("tfg_jax.report").joinpath("page.html.jinja").read_text("utf-8"))


def _as_markdown(block: Block, page: Path) -> Iterator[str]:
    """The lines of a block of a Markdown page."""
    if isinstance(block, Text):
        yield f"{'> ' * block.warning}{block.text}\n"
    elif isinstance(block, Figure):
        file = page.with_name(f"{page.stem}_{block.name}.png")
        save_chart(file, block.picture) if isinstance(block.picture, Chart) else save_png(file, block.picture)
        yield f"{block.caption}:\n\n" * bool(block.caption) + f"![{as_markdown(block.alt)}]({file.name})\n"
    elif isinstance(block, Table):
        yield f"{block.caption}:\n\n" * bool(block.caption) + markdown_table(block.rows, block.columns) + "\n"
    elif isinstance(block, Config):
        yield f"```json\n{to_json(block.values)}\n```\n"
    elif isinstance(block, Viewer):
        yield f"{counted(len(block.molecules), 'molecule')} in 3-D: see the page in HTML.\n"
    elif isinstance(block, Cards):
        yield markdown_table([{"": card.title, **card.facts, "note": card.flag} for card in block.cards]) + "\n"
    else:
        yield markdown_table([block.values]) + "\n"
