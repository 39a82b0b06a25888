"""`tfg-jax study`: experiments that answer a question, as tables and figures on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfg_jax.cli.groups import SizeOptions
from tfg_jax.cli.main import OK
from tfg_jax.cli.options import Part, Typed, data_set

MIXTURE_SECONDS = {False: 25.0, True: 2.0}  # of one row of mixtures on one core, whether quick
BAR = "all rows: {percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"


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

    Every row has a folder of its own, so the same command resumes; page.md and its figures show all rows that are done.
    """
    from tqdm import tqdm

    from tfg_jax.checks import check_count
    from tfg_jax.cli import study_images
    from tfg_jax.locks import lock
    from tfg_jax.report import counted

    for field in dataclasses.fields(SizeOptions):
        check_count(field.name, getattr(options, field.name))
    if not options.problems or not options.budgets:
        raise ValueError("problems and budgets must name at least one each; leave them out for the defaults")
    every = study_images.plan(options.problems, options.budgets, options)
    cells = study_images.plan(options.problems, options.budgets, options, options.only)
    left = _left(options, cells)
    seconds = sum(left.values())
    if options.dry_run or (left and not options.yes):
        _describe(options, study_images.plan_rows(cells))
        if options.dry_run:
            return OK
        raise ValueError(f"{counted(len(left), 'row')} to compute, about {_time(seconds)}; pass --yes to start, or "
                         "--only for a part")  # fmt: skip
    with tqdm(total=seconds, unit="s", smoothing=0, bar_format=BAR, disable=not left) as bar:
        for number, (row, said) in enumerate(_computed(options, cells, left), 1):
            bar.write(said)
            bar.set_postfix_str(f"{min(number, len(left))} of {counted(len(left), 'row')}", refresh=False)
            bar.update(left.get(row, 0.0))
    with lock(options.out, wait=True):
        print(f"page  {_page(options, every)}")
    return OK


def _left(options: Any, cells: list) -> dict[str, float]:
    """What is still to be computed, with the seconds that it will take on one core."""
    from tfg_jax.cli.study_images import RATE, missing_cells
    from tfg_jax.tasks.horizon_mixtures import missing_mixtures

    rows: dict[str, float] = {}
    if options.part != "images":
        names = missing_mixtures(options.out / "mixtures", options.quick)
        rows |= dict.fromkeys(names, MIXTURE_SECONDS[options.quick])
    if options.part != "mixtures":
        missing = missing_cells(cells, options.out / "images")
        rows |= {str(cell.slug): cell.evaluations / RATE for cell in missing}
    return rows


def _computed(options: Any, cells: list, left: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Every row that was left, by name, once it is computed, with a word about it."""
    from tfg_jax.locks import lock

    if options.part != "images":
        from tfg_jax.tasks.horizon_mixtures import run_mixtures

        with lock(options.out / "mixtures", wait=True):  # of a process beside this one, which will have done them all
            for done in run_mixtures(options.out / "mixtures", options.quick):
                yield done.partition(":")[0], done
    if options.part != "mixtures":
        from tfg_jax.cli import study_images
        from tfg_jax.tasks.horizon_images import load_networks

        networks = load_networks(options.model, options.guide, options.evaluator)
        for cell, result in zip(cells, study_images.run_cells(networks, cells, options.out / "images"), strict=True):
            said = (cell.problem, str(cell.budget), cell.name, result["setting"], f"{result['report']['score']:.3f}")
            yield str(cell.slug), "  ".join(said)


def _describe(options: Any, rows: list[dict]) -> None:
    from tfg_jax.cli.study_images import RATE
    from tfg_jax.report import counted, text_table

    if options.part != "images":
        from tfg_jax.tasks.horizon_mixtures import describe_mixtures, plan_mixtures

        seconds = MIXTURE_SECONDS[options.quick] * len(plan_mixtures(options.quick))
        print(f"{text_table(describe_mixtures(options.quick))}\n\nNo network; about {_time(seconds)}.\n")
    if options.part != "mixtures":
        total = sum(row["all evaluations"] for row in rows)
        print(text_table(rows))
        print(f"\n{counted(len(rows), 'row')}, {total} network evaluations of the image model: about "
              f"{_time(total / RATE)} at {RATE} a second.")  # fmt: skip
    print("Nothing was computed or written.")


def _time(seconds: float) -> str:
    """As people say it: `7 minutes`, `2.5 hours`."""
    if seconds < 3 * 3600:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def _page(options: Any, cells: list) -> Path:
    from tfg_jax.cli.study_images import read_result
    from tfg_jax.studies.horizon_page import write_page
    from tfg_jax.tasks.horizon_mixtures import read_mixtures

    found = [read_result(options.out / "images" / cell.slug) for cell in cells]
    page = options.page or options.out / "page.md"
    write_page(page, read_mixtures(options.out / "mixtures"), [each for each in found if each is not None])
    return page
