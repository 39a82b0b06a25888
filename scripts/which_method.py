"""Which method and which strength: measure, and write docs/which_method.md with its details.

python scripts/which_method.py            # half an hour; stopped, the same command goes on
python scripts/which_method.py --known    # writes the pages from what has been measured
"""

import dataclasses
from pathlib import Path

import tyro
from method_guide.measure import measure, read


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run and where it goes."""

    known: bool = False  # write the pages from what is on disk and compute nothing
    only: tuple[str, ...] = ()  # problems, for processes side by side; empty is all
    folder: Path = Path("runs/which_method")
    docs: Path = Path("docs")


def main(run: Run) -> None:
    """Measure what is missing, then write the pages."""
    if not run.known:
        measure(run.folder, run.only)
    if not run.only:
        from method_guide.page import write_pages

        write_pages(read(run.folder), run.docs)


if __name__ == "__main__":
    main(tyro.cli(Run))
