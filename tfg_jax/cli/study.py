"""`tfg-jax study`: experiments that answer a question, as tables and figures on one page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfg_jax.cli.main import OK
from tfg_jax.cli.options import StudySizes

RATE = 400  # network evaluations a second on one core, for the estimate of a dry run


@dataclasses.dataclass(frozen=True)
class Options(StudySizes):
    """How far should guidance look: the truncation horizon on mixtures with exact answers and on images.

    Every row has a folder of its own, so the same command resumes; page.md and its figures show all rows that are done.
    """

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
    """Mixtures: few states and samples, for a look."""
    model: str = "fashion-mnist"
    """Diffusion model: released name or folder of weights."""
    guide: str = "fashion-mnist-guide"
    """Classifier that guides: released name or folder."""
    evaluator: str = "fashion-mnist-evaluator"
    """Classifier that scores: released name or folder."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/study-horizon")
    """Folder of the rows and, without `--page`, of the page."""
    page: Path | None = None
    """Markdown page to write instead of page.md in the folder; findings kept beside it by hand are put in."""
    dry_run: bool = False
    """Show rows and network evaluations; compute and write nothing."""


def run(options: Options) -> int:
    """Plan, compute what is missing, write the page."""
    from tfg_jax.checks import check_count
    from tfg_jax.cli import study_images
    from tfg_jax.locks import lock

    for field in dataclasses.fields(StudySizes):
        check_count(field.name, getattr(options, field.name))
    if not options.problems or not options.budgets:
        raise ValueError("problems and budgets must name at least one each; leave them out for the defaults")
    every = study_images.plan(options.problems, options.budgets, options)
    cells = study_images.plan(options.problems, options.budgets, options, options.only)
    if options.dry_run:
        _describe(options, study_images.plan_rows(cells))
        return OK
    if options.part != "images":
        from tfg_jax.tasks.horizon_mixtures import run_mixtures

        with lock(options.out / "mixtures", wait=True):  # of a process beside this one, which will have done them all
            for done in run_mixtures(options.out / "mixtures", options.quick):
                print(done, flush=True)
    if options.part != "mixtures":
        from tfg_jax.tasks.horizon_images import load_networks

        networks = load_networks(options.model, options.guide, options.evaluator)
        for result in study_images.run_cells(networks, cells, options.out / "images"):
            config, report = result["config"], result["report"]
            said = {"problem": config["problem"], "budget": config["budget"], "row": config["row"]}
            print(*said.values(), result["setting"], f"score {report['score']:.3f}", sep="  ", flush=True)
    with lock(options.out, wait=True):
        print(f"page  {_page(options, every)}")
    return OK


def _describe(options: Options, rows: list[dict]) -> None:
    from tfg_jax.report import text_table

    if options.part != "images":
        from tfg_jax.tasks.horizon_mixtures import describe_mixtures

        print(text_table(describe_mixtures(options.quick)), "\n")
    if options.part != "mixtures":
        total = sum(row["all evaluations"] for row in rows)
        print(text_table(rows))
        print(f"\n{total} network evaluations of the image model: {total / RATE / 60:.0f} minutes at {RATE} a second, "
              "and the compilation of each row")  # fmt: skip
    print("Nothing was computed or written.")


def _page(options: Options, cells: list) -> Path:
    from tfg_jax.cli.study_images import read_result
    from tfg_jax.report.horizon_report import write_page
    from tfg_jax.tasks.horizon_mixtures import read_mixtures

    found = [read_result(options.out / "images" / cell.slug) for cell in cells]
    page = options.page or options.out / "page.md"
    write_page(page, read_mixtures(options.out / "mixtures"), [each for each in found if each is not None])
    return page
