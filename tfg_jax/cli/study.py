"""`tfg-jax study`: experiments that answer a question, as tables and figures on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tfg_jax.cli.groups import SizeOptions
from tfg_jax.cli.main import OK
from tfg_jax.cli.options import Part, Typed, data_set

if TYPE_CHECKING:
    from tfg_jax.runs.study import Study

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

    Every row is kept once it is computed, so the same command resumes, also beside another process; page.md and its
    figures show all rows that are done.
    """
    from tqdm import tqdm

    from tfg_jax.checks import check_count
    from tfg_jax.locks import lock
    from tfg_jax.report import counted

    for field in dataclasses.fields(SizeOptions):
        check_count(field.name, getattr(options, field.name))
    if not options.problems or not options.budgets:
        raise ValueError("problems and budgets must name at least one each; leave them out for the defaults")
    studies = _studies(options)
    rows = [row for part, only in studies.values() for row in part.missing(only)]
    left, seconds = {row.name: row.seconds for row in rows}, sum(row.seconds for row in rows)
    if options.dry_run or (left and not options.yes):
        _describe([part.plan(only) for part, only in studies.values()])
        if options.dry_run:
            return OK
        raise ValueError(f"{counted(len(left), 'row')} to compute, about {_time(seconds)}; pass --yes to start, or "
                         "--only for a part")  # fmt: skip
    with tqdm(total=seconds, unit="s", smoothing=0, bar_format=BAR, disable=not left) as bar:
        computed = (each for part, only in studies.values() for each in part.compute(only))
        done = 0
        for row, result in computed:
            if row.name in left:
                done += 1
                bar.write(f"{row.name}: {'left to another process' if result is None else _said(result)}")
            bar.set_postfix_str(f"{done} of {counted(len(left), 'row')}", refresh=False)
            bar.update(left.get(row.name, 0.0))
    with lock(options.out, wait=True):
        print(f"page  {_page(options)}")
    return OK


def _studies(options: Any) -> dict[str, tuple[Study, tuple[str, ...]]]:
    """The parts that are wanted, and which rows of them."""
    from tfg_jax.studies.horizon.mixtures import mixtures_study

    studies = {}
    if options.part != "images":
        studies["mixtures"] = (mixtures_study(options.out / "mixtures", options.quick), ())
    images = _images(options)
    images.selected(options.only)  # a wrong word is wrong whatever the part
    return studies | ({} if options.part == "mixtures" else {"images": (images, options.only)})


def _images(options: Any) -> Study:
    from tfg_jax.studies.horizon.cells import images_study
    from tfg_jax.studies.horizon.images import Networks

    networks = Networks(options.model, options.guide, options.evaluator)
    return images_study(options.out / "images", options.problems, options.budgets, options, networks)


def _said(result: Mapping[str, Any]) -> str:
    """A word about a row that is done."""
    report = result["report"]
    score = f"{report['setting']}  {report['score']:.3f}  " if "score" in report else ""
    return f"{score}{result['seconds']:.1f} s"


def _describe(plans: Sequence[list[dict[str, Any]]]) -> None:
    from tfg_jax.report import counted, text_table

    for plan in plans:
        total = sum(row["all evaluations"] for row in plan)
        minutes = _time(60 * sum(row["minutes"] for row in plan))
        print(f"{text_table(plan)}\n\n{counted(len(plan), 'row')}, {total} network evaluations: {minutes} at a usual "
              "speed, about.\n")  # fmt: skip
    print("Nothing was computed or written.")


def _time(seconds: float) -> str:
    """As people say it: `7 minutes`, `2.5 hours`."""
    if seconds < 3 * 3600:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def _page(options: Any) -> Path:
    from tfg_jax.studies.horizon.mixtures import read_mixtures
    from tfg_jax.studies.horizon.page import write_page

    page = options.page or options.out / "page.md"
    write_page(page, read_mixtures(options.out / "mixtures"), list(_images(options).known().values()))
    return page
