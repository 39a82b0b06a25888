"""Which method and which strength: measure, and write docs/which_method.md with its details.

python scripts/which_method.py                     # half an hour; stopped, the same command goes on
python scripts/which_method.py --only moons DPS    # a problem, a method
python scripts/which_method.py --page-only         # writes the pages from what has been measured
"""

import dataclasses
from pathlib import Path

import studied
import tyro
from method_guide.measure import study_of
from method_guide.page import write_pages


@dataclasses.dataclass(frozen=True)
class Options(studied.Options):
    """What is run and where it goes."""

    folder: Path = Path("runs/which_method")
    page: Path = Path("docs/results/details/which_method.md")  # the guide lies two folders above


if __name__ == "__main__":
    options = tyro.cli(Options, description=__doc__)
    studied.run(study_of(options), options, lambda name, report: None, write_pages)
