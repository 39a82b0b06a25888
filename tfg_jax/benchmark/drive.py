"""What the command does with a benchmark: tells its plan, writes its table and page."""

from __future__ import annotations

from pathlib import Path

from tfg_jax.benchmark.page import lines_of, report_of, said
from tfg_jax.benchmark.rows import LACKS
from tfg_jax.benchmark.run import Benchmark
from tfg_jax.locks import lock
from tfg_jax.report.table import counted, text_table
from tfg_jax.runs.page import write_details
from tfg_jax.studies.progress import in_words

SHOWN = ("task", "method", "metric", "score", "evaluations", "s a sample", "samples", "failed", "rows")
"""Columns on a terminal."""


def described(what: Benchmark) -> str:
    """The plan, and what has to be handed in."""
    lines = what.plan()
    shown = [{**line, "minutes": round(line["minutes"], 1) or None} for line in lines]
    if not any(line[LACKS] for line in lines):
        shown = [{key: value for key, value in line.items() if key != LACKS} for line in shown]
    minutes, all_of_them = (sum(line[key] for line in lines) for key in ("minutes", "all evaluations"))
    unknown = sum(not row.seconds for row in what.rows)
    time = f": {in_words(60 * minutes)} on two idle cores, about, compilation aside" if minutes else ""
    time += f"; of {counted(unknown, 'row')} the time is unknown" if unknown else ""
    count = f"{counted(len(what.rows), 'row')}, {all_of_them} network evaluations{time}."
    told = [what.suite.about, text_table(shown), f"{count} Nothing was computed or written."]
    for need in what.needs():
        facts = [f"{key}: {need[key]}" for key in ("architecture", "source", "how") if need[key]]
        state = "given" if need["given"] else "not given"
        told.append("\n    ".join([f"--use {need['name']}=...  {need['gives']} of {need['for']}, {state}", *facts]))
    return "\n\n".join(told)


def write(what: Benchmark, command: str, page: Path | None = None) -> str:
    """table.md, metrics.json, report.html and the page from all finished rows; returns what to say.

    Args:
        what: the benchmark.
        command: that made it; "" is not told.
        page: a Markdown file to write besides, with its tables as JSON beside it.
    """
    outcome = what.outcome()
    unfinished = [row for row in what.study.rows if row.name not in outcome.known]
    tasks = ", ".join(dict.fromkeys(row.labels["task"] for row in unfinished))
    notes = (f"{counted(len(unfinished), 'row')} of {len(what.study.rows)} not computed yet: {tasks}",) * bool(tasks)
    with lock(what.folder, wait=True):
        report = report_of(outcome, command, notes)
        report.write(what.folder)
        if page is not None:
            page.parent.mkdir(parents=True, exist_ok=True)
            write_details(page, report.markdown(page))
    table = text_table([{key: line[key] for key in SHOWN} for line in lines_of(outcome)])
    return "\n\n".join(filter(None, [table, said(outcome), *notes, f"page  {page or what.folder / 'report.html'}"]))
