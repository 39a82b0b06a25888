"""`tfg-jax benchmark`: suites of tasks, methods, targets and seeds, run to one table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfg_jax.cli.groups import ROW_WORKER
from tfg_jax.cli.main import OK
from tfg_jax.cli.options import Part, Typed, command_line

LONG = 3600.0
"""Seconds of work that are asked for."""


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """Which suite, what of it, and where to."""

    suite: str = "smoke"
    """smoke (every task in minutes), full (all methods, hours), tfg-paper (that of the paper, for whoever has its
    weights), or file.toml."""
    only: tuple[str, ...] = ()
    """Tasks, targets or methods; default all."""
    use: tuple[str, ...] = ()
    """NAME=WHAT: what stands for something that the suite names, such as weights: a released name, a folder,
    file.py:name or module:name. --dry-run lists what is needed."""
    samples: int | None = None
    """Samples of a row, in place of the suite's."""
    seeds: tuple[int, ...] = ()
    """Seeds, in place of the suite's."""
    worker: ROW_WORKER = None
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/benchmark")
    """Folder of the rows, their samples, table.md, metrics.json and report.html."""
    page: Path | None = None
    """Also write the page as this Markdown file, its tables as JSON beside it."""
    yes: bool = False
    """Start, though it takes more than an hour by what is known of its tasks."""
    dry_run: bool = False
    """Show rows, network evaluations, time, and what has to be handed in; compute and write nothing."""


def parts(typed: Typed) -> list[Part]:
    """The groups of options."""
    return [Part(BenchmarkOptions)]


def run(options: Any) -> int:
    """Run a suite of tasks, methods, targets and seeds: one table with intervals and cost.

    Every row is kept once it is computed: the same command resumes, also beside other processes.
    """
    from tfg_jax.benchmark.drive import described, write
    from tfg_jax.benchmark.read import read_suite
    from tfg_jax.benchmark.run import Benchmark, resized
    from tfg_jax.benchmark.sources import read_use
    from tfg_jax.runs.workers import parse_worker
    from tfg_jax.studies.progress import in_words

    suite = resized(read_suite(options.suite), options.samples, options.seeds)
    what = Benchmark(suite, options.out, read_use(options.use), options.only, parse_worker(options.worker))
    if options.dry_run:
        print(described(what))
        return OK
    if what.seconds > LONG and not options.yes:
        raise ValueError(
            f"{in_words(what.seconds)} to compute, about; pass --yes to start, or --only, --samples, --seeds"
        )
    if options.page is not None and (options.page.is_dir() or not options.page.suffix):
        raise ValueError(f"page={options.page} names no file; give one such as results.md")
    what.compute()
    print(write(what, command_line("benchmark"), options.page))
    return OK
