"""`tfg-jax study`: experiments that answer a question, as tables and figures on one page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfg_jax.cli.groups import SizeOptions
from tfg_jax.cli.main import OK
from tfg_jax.cli.options import Part, Typed, data_set


@dataclasses.dataclass(frozen=True)
class RowOptions:
    """Which rows, of which networks, and where to."""

    question: Annotated[Literal["horizon"], tyro.conf.Positional] = "horizon"
    """The study."""
    part: Literal["mixtures", "images", "all"] = "all"
    """Mixtures with exact answers, restorations and labels by the shipped model, or both."""
    only: tuple[str, ...] = ()
    """Images: problems, budgets or rows to compute, e.g. for processes side by side; default all."""
    problems: tuple[str, ...] = ("box", "random", "sr4", "blur", "label")
    """Images: restoration problems as in `solve`, and label."""
    budgets: tuple[int, ...] = (80, 320)
    """Images: network evaluations (forwards and pullbacks) a sample may cost, one column each."""
    quick: bool = False
    """Mixtures: few states and samples, for an evaluation."""
    model: str = ""
    """Diffusion model: released name or folder of weights."""
    guide: str = ""
    """Classifier that guides: released name or folder."""
    evaluator: str = ""
    """Classifier that scores: released name or folder."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/study-horizon")
    """Folder of the rows and, without `--page`, of the page."""
    page: Path | None = None
    """Markdown page to write instead of page.md in the folder; findings kept beside it by hand are put in."""
    yes: bool = False
    """Start: the whole study takes hours. Without it the plan is shown."""
    dry_run: bool = False
    """Show rows, network evaluations and time; compute and write nothing."""


def parts(typed: Typed) -> list[Part]:
    """The groups of options."""
    networks = data_set(typed).networks
    own = {"model": networks["model"], "guide": networks["reward"], "evaluator": networks["evaluator"]}
    return [Part(RowOptions, own), Part(SizeOptions)]


def run(options: Any) -> int:
    """How far should guidance look: the truncation horizon on mixtures with exact answers and on images.

    Every row is kept once it is computed: the same command resumes, also beside another process; page.md shows all.
    """
    from tfg_jax.checks import check_count
    from tfg_jax.locks import lock
    from tfg_jax.report import counted
    from tfg_jax.studies import progress
    from tfg_jax.studies.horizon import study

    for field in dataclasses.fields(SizeOptions):
        check_count(field.name, getattr(options, field.name))
    parts = study.parts(options)
    missing = [row for part, only in parts for row in part.missing(only)]
    if options.dry_run or (missing and not options.yes):
        print(progress.described([part.plan(only) for part, only in parts]))
    if options.dry_run:
        return OK
    if missing and not options.yes:
        time = progress.in_words(sum(row.seconds for row in missing))
        raise ValueError(f"{counted(len(missing), 'row')} to compute, about {time}; pass --yes to start, or --only")
    progress.compute(parts)
    with lock(options.out, wait=True):
        print(f"page  {study.write(options)}")
    return OK
