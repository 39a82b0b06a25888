"""Studies as they run: what they will do in words, and one bar with the time that is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfg_jax.report.table import counted, text_table
from tfg_jax.runs.study import Study

BAR = "all rows: {percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"


def compute(parts: Sequence[tuple[Study, Sequence[str]]]) -> None:
    """Compute what is missing of studies, of each the rows named beside it, under one bar.

    Raises:
        Interrupted: on a signal; what is finished is kept.
    """
    from tqdm import tqdm

    left = {row.name: row.seconds for study, only in parts for row in study.missing(only)}
    with tqdm(total=sum(left.values()), unit="s", smoothing=0, bar_format=BAR, disable=not left) as bar:
        done = 0
        for row, result in (each for study, only in parts for each in study.compute(only)):
            if row.name in left:
                done += 1
                bar.write(f"{row.name}: {'left to another process' if result is None else _said(result)}")
            bar.set_postfix_str(f"{done} of {counted(len(left), 'row')}", refresh=False)
            bar.update(left.get(row.name, 0.0))


def described(plans: Sequence[list[dict[str, Any]]]) -> str:
    """Plans as text: rows, network evaluations and time of each study."""
    parts = []
    for plan in plans:
        total, minutes = sum(row["all evaluations"] for row in plan), sum(row["minutes"] for row in plan)
        time = f"{in_words(60 * minutes)} at a usual speed, about."
        parts.append(f"{text_table(plan)}\n\n{counted(len(plan), 'row')}, {total} network evaluations: {time}\n")
    return "\n".join([*parts, "Nothing was computed or written."])


def in_words(seconds: float) -> str:
    """A time as people say it: `7 minutes`, `2.5 hours`."""
    if seconds < 3 * 3600:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def _said(result: Mapping[str, Any]) -> str:
    """A word about a row that is done."""
    report = result["report"]
    score = f"{report['setting']}  {report['score']:.3f}  " if "score" in report else ""
    return f"{score}{result['seconds']:.1f} s"
