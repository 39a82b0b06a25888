"""Write the results pages, docs/results/*.md, from the tables that the studies stored in docs/results/details/*.json.

python scripts/write_pages.py                  # all of them; nothing is sampled
python scripts/write_pages.py horizon speed
"""

import dataclasses
from pathlib import Path

import tyro
from results.figures import FIGURES

from tfg_jax.files import write_atomically
from tfg_jax.readers import load_json
from tfg_jax.runs.page import page_text

TEMPLATES = {file.name.split(".")[0]: file for file in sorted(Path(__file__).parent.glob("results/*.md.jinja"))}
"""Name of a page -> what it says."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Which pages, and where they lie."""

    names: tyro.conf.Positional[tuple[str, ...]] = tuple(TEMPLATES)
    folder: Path = Path("docs/results")


def text_of(name: str, folder: Path) -> str:
    """A page as Markdown. Raises ValueError if a number in it is not stored, or if it is too long."""
    return page_text(TEMPLATES[name].read_text("utf-8"), load_json("tables", folder / f"details/{name}.json"))


def main(options: Options) -> None:
    """Write pages, and the figures that no study draws."""
    for name in options.names:
        text = text_of(name, options.folder)
        write_atomically(options.folder / f"{name}.md", lambda file, text=text: file.write(text.encode()))
        if name in FIGURES:
            FIGURES[name](load_json("tables", options.folder / f"details/{name}.json"), options.folder / f"{name}.png")
        print(options.folder / f"{name}.md")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
