"""`tfg-jax search`: the settings of a method that suit a task best, within a cost."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from tfg_jax.cli import methods, sample, searching, solve
from tfg_jax.cli.groups import RequestOptions, RestoreOptions, WorkerOptions
from tfg_jax.cli.main import OK
from tfg_jax.cli.options import Part, Typed, as_json, command_line

FORMER = (*solve.FORMER, "problem", "num_images", "images", "draws")


def parts(typed: Typed) -> list[Part]:
    """Those of `sample` that say what is sampled, or with --problem those of `solve`, and the search's own."""
    if typed.last("--program") is not None:
        raise ValueError("--program has no effect on a search, which changes what a program has fixed; drop it")
    same = [
        dataclasses.replace(part, defaults={**part.defaults, "out": Path("outputs/search")})
        if part.cls in (RequestOptions, RestoreOptions) else part
        for part in (sample if typed.last("--problem") is None else solve).parts(typed)
        if not issubclass(part.cls, WorkerOptions)
    ]  # fmt: skip
    return [*same, Part(searching.SearchOptions)]


def run(options: Any) -> int:
    """Search the settings of a method that suit a task best; options of `sample`, or with --problem those of `solve`,
    say what for and where it starts.

    Writes trials.jsonl, from which the same command goes on, report.html and best.json, which `--config` of `tfg-jax
    sample` or `solve` takes: its samples are of another seed, so that they tell how good the best is.
    """
    if options.guidance in methods.UNGUIDED:
        raise ValueError(f"guidance={options.guidance} has no settings to search; name a method")
    what = searching.search_of(options)
    for note in searching.notes(what):
        print(f"note: {note}", file=sys.stderr)
    if options.dry_run:
        print(searching.plan(what))
        return OK

    from tfg_jax.files import write_json
    from tfg_jax.report import text_table
    from tfg_jax.report.search import best_rows, search_report
    from tfg_jax.runs.store import versions
    from tfg_jax.search.run import run as run_search

    found = run_search(what, options.out, overwrite=options.overwrite, tell=lambda line: print(line, file=sys.stderr))
    best = searching.best_options(options, found)
    config = {"command": "search", "options": as_json(options), "resolved": what.config(), "versions": versions()}
    report = found.report_of(found.best.candidate) or found.best
    command = "solve" if hasattr(options, "problem") else "sample"
    write_json(options.out / "best.json", {"command": command, "options": best, "found": report.to_dict()})
    search_report(found, config, command_line("search")).write(options.out)
    print(f"{text_table(best_rows(found, 10))}\n")
    print(f"best     {options.out / 'best.json'}\nreport   {options.out / 'report.html'}")
    return OK
