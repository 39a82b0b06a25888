"""A benchmark as tables: one for the terminal, a page, numbers for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfg_jax.benchmark.gains import Headline
from tfg_jax.benchmark.outcome import Line, Outcome
from tfg_jax.metrics.intervals import Estimate
from tfg_jax.metrics.titles import METRICS, flat_estimate
from tfg_jax.report.charts import bar_chart
from tfg_jax.report.page import Block, Figure, Report, Section, Table, Text
from tfg_jax.report.table import counted, markdown_table


def lines_of(outcome: Outcome) -> list[dict[str, Any]]:
    """The table: a line a task and method."""
    return [
        {
            "task": line.task, "method": line.method, "metric": METRICS[line.metric].axis, "score": line.score,
            "also": ", ".join(f"{_title(name)} {each}" for name, each in line.also.items()) or None,
            "evaluations": line.evaluations, "objective gradients": line.gradients, "s a sample": line.seconds,
            "samples": line.samples, "failed": line.failed, "rows": f"{line.rows} of {line.of}",
        }
        for line in outcome.lines
    ]  # fmt: skip


def percent(estimate: Estimate) -> str:
    """A share with its interval, in hundredths."""
    value, low, high = (100.0 * each for each in (estimate.value, estimate.low, estimate.high))
    return f"{Estimate(value, low, high, estimate.n)} %"


def said(outcome: Outcome) -> str:
    """The headline in words; empty where there is none yet."""
    suite, words = outcome.suite, []
    if (gained := outcome.headline) is not None:
        tasks, many = counted(gained.mean.n, "task"), percent(gained.over_tasks)
        words.append(
            f"{suite.headline} over the best of {', '.join(suite.baselines)}: mean relative gain "
            f"{percent(gained.mean)} over {tasks}, better in {gained.wins}"
            f"{f' (published: {suite.published})' if suite.published else ''}. As tasks drawn from many: {many}."
        )
    if (gained := outcome.beyond) is not None:
        words.append(
            f"With {', '.join(suite.beyond)} among the baselines, where a task has them: {percent(gained.mean)} over "
            f"{counted(gained.mean.n, 'task')}, better in {gained.wins}."
        )
    return " ".join(words)


def report_of(outcome: Outcome, command: str, notes: tuple[str, ...] = ()) -> Report:
    """The page: headline, gains, the table, published numbers, settings."""
    suite = outcome.suite
    blocks: list[Block] = [Text(note, warning=True) for note in notes]
    blocks += [Text(suite.about), *([Table(_headline(outcome))] if outcome.headline else [])]
    sections = [Section("Headline", [*blocks, *([Text(f"Made by: `{command}`")] if command else [])])]
    if (result := outcome.headline) is not None:
        chart = bar_chart({each.task: each.estimate for each in result.gains}, f"relative gain of {suite.headline}")
        rows = _gains(outcome, result)
        alt = f"relative gain of {suite.headline} over the best baseline of each task"
        sections.append(Section("Gains", [Figure(chart, alt, name="gains"), Table(rows)]))
    sections.append(Section("Table", [Table(lines_of(outcome)), Text(MEANING)]))
    if published := _published(outcome):
        sections.append(Section("Published", [Table(published)]))
    if remarks := {entry.name: entry.note for entry in suite.tasks if entry.note}:
        sections.append(Section("Remarks", [Table([{"task": name, "remark": text} for name, text in remarks.items()])]))
    sections.append(Section("Settings", [Table(_settings(outcome.lines))]))
    table = f"{markdown_table(lines_of(outcome))}\n".encode()
    return Report(f"Benchmark {suite.name}", sections, numbers=_numbers(outcome), files={"table.md": lambda: [table]})


MEANING = (
    "Brackets are 95 % intervals over requests, of classes and images means over seeds. Evaluations are network "
    "forwards and pullbacks a sample; seconds are of this machine as it was, compilation included."
)


def _title(name: str) -> str:
    return METRICS[name].header(short=True) if name in METRICS else name.replace("_", " ")


def _headline(outcome: Outcome) -> list[dict[str, Any]]:
    """The headline, and what it is with further methods among the baselines."""
    suite, rows = outcome.suite, []
    pairs = ((outcome.headline, suite.baselines), (outcome.beyond, (*suite.baselines, *suite.beyond)))
    for gained, baselines in pairs:
        if gained is not None:
            mean, many = percent(gained.mean), percent(gained.over_tasks)
            rows.append({
                f"{suite.headline} over the best of": ", ".join(baselines), "mean relative gain": mean,
                "as tasks drawn from many": many, "tasks": gained.mean.n, "better in": gained.wins,
                **({"published": suite.published} if suite.published else {}),
            })  # fmt: skip
    return rows


def _gains(outcome: Outcome, result: Headline) -> list[dict[str, Any]]:
    values, method = {scores.task: scores for scores in outcome.scores}, outcome.suite.headline
    rows = []
    for each in result.gains:
        ours, its = np.nanmean(values[each.task].pair(method, each.baseline), axis=1).tolist()
        row = {"task": each.task, "best baseline": each.baseline, "its score": its, method: ours}
        rows.append(row | {"relative gain": percent(each.estimate)})
    return [*rows, {"task": "mean", "relative gain": percent(result.mean)}]


def _published(outcome: Outcome) -> list[dict[str, Any]]:
    measured = {(line.task, line.method): line.score for line in outcome.lines}
    return [
        {
            "task": task, "method": each.method, "metric": each.metric, "value": each.value, "known as": each.trust,
            "source": each.source, "score here": measured.get((task, each.method)),
        }
        for entry in outcome.suite.tasks
        for each in entry.published
        for task in [each.target if entry.apart else entry.name]
    ]  # fmt: skip


def _settings(lines: list[Line]) -> list[dict[str, Any]]:
    """Methods with what they were set to, tasks of the same settings together."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.settings:
            tasks.setdefault((line.method, line.settings), []).append(line.task)
    return [{"method": name, "settings": text, "tasks": ", ".join(names)} for (name, text), names in tasks.items()]


def _numbers(outcome: Outcome) -> dict[str, Any]:
    """For metrics.json."""
    lines: list[Mapping[str, Any]] = [
        {
            "task": line.task, "method": line.method, "metric": line.metric, **flat_estimate("score", line.score),
            **{name: value for key, each in line.also.items() for name, value in flat_estimate(key, each).items()},
            "network_evaluations_per_sample": line.evaluations, "objective_gradients_per_sample": line.gradients,
            "seconds_per_sample": line.seconds, "samples": line.samples, "failed_samples": line.failed,
            "rows": line.rows, "rows_of_suite": line.of, "settings": line.settings,
        }
        for line in outcome.lines
    ]  # fmt: skip
    result: dict[str, Any] = {"suite": outcome.suite.name, "lines": lines}
    for name, each in (("headline", outcome.headline), ("beyond", outcome.beyond)):
        if each is not None:
            gains = [
                {"task": gain.task, "baseline": gain.baseline, **flat_estimate("gain", gain.estimate)}
                for gain in each.gains
            ]
            mean = flat_estimate("mean_gain", each.mean)
            result[name] = {
                "method": outcome.suite.headline,
                **mean,
                "tasks": each.mean.n,
                "wins": each.wins,
                "gains": gains,
            }
    return result
