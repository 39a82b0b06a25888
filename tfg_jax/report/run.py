"""What the reports of all sampling runs share: summary, steps, cost, single samples with the failed ones first."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tfg_jax.metrics.sampled_run import SampledRun
from tfg_jax.metrics.titles import COSTS, titled
from tfg_jax.report.charts import line_chart
from tfg_jax.report.images import Pixels, to_pixels
from tfg_jax.report.page import Block, Card, Cards, Config, Figure, Numbers, Report, Section, Text
from tfg_jax.report.table import counted
from tfg_jax.rows import MOST_KEPT, AnyArray, as_rows

MOST_CARDS = 60
FAILURES = {1: "not finite", 2: "invalid input", 3: "diverged"}


def run_report(
    title: str,
    run: SampledRun,
    numbers: Mapping[str, Any],
    picture: Pixels,
    *,
    text: str,
    shown: Collection[str],
    sections: Sequence[Section],
    card: Callable[[int], tuple[str, dict[str, Any], str]],
    tile: Callable[[int], Pixels],
    noun: str = "sample",
    note: str = "",
) -> Report:
    """A report of samples.

    Args:
        title: of the page.
        run: what is shown.
        numbers: all of its metrics. shown: the main ones, in the summary.
        picture: for grid.png.
        text: what the summary says; the run's warnings stand above it.
        sections: between the summary and the cost.
        card: title, facts and flag of one sample that finished. tile: its picture, whether it finished or not.
        noun: what one sample is called. note: a sentence on the facts of single samples.
    """
    warnings: list[Block] = [Text(each, warning=True) for each in run.notes]
    cards = _cards(run, card, tile)
    intro = f"{len(cards)} of {counted(len(run.ok()), noun)}, failed ones first.{' ' * bool(note)}{note}"
    parts = [
        Section("Summary", [*warnings, Text(text), Numbers(titled(numbers, shown))]),
        *sections,
        Section(
            "Cost",
            [Numbers(titled(numbers, [*COSTS.values(), "seconds", "images_per_second", "molecules_per_second"]))],
        ),
        Section(f"Single {noun}s", [Text(intro), Cards(cards)]),
    ]
    if run.config:
        parts.append(Section("Configuration", [Config(run.config)]))
    return Report(title, parts, numbers=numbers, picture=picture)


def step_section(title: str, values: AnyArray, ylabel: str, note: str = "") -> Section:
    """A section with the mean of (n, steps) values against the step, over the samples that stayed finite, and the band
    of their middle 80 %."""
    over = f" Over the first {MOST_KEPT:,} samples." if len(values) > MOST_KEPT else ""
    values = np.asarray(values[:MOST_KEPT], np.float64)
    finite = values[np.isfinite(values).all(axis=1)]
    curve = np.full((3, values.shape[1]), np.nan)
    if len(finite):
        curve = np.stack([finite.mean(axis=0), *np.quantile(finite, [0.1, 0.9], axis=0)])
    chart = line_chart({"mean": (np.arange(values.shape[1]), *curve)}, "sampling step", ylabel)
    return Section(title, [Figure(chart, f"{title} against sampling step", f"{note}{over}".strip())])


def image_tile(run: SampledRun, x: AnyArray) -> Callable[[int], Pixels]:
    """The picture of each sample of images; a red tile of one that failed."""
    images, ok = as_rows(x), run.ok()
    return lambda i: to_pixels(images[i] if ok[i] else np.full_like(images[i], np.nan), 2)


def _cards(
    run: SampledRun, card: Callable[[int], tuple[str, dict[str, Any], str]], tile: Callable[[int], Pixels]
) -> list[Card]:
    """Failures first, then the samples in order: what went wrong must not hide behind the first page."""
    ok = run.ok()
    code, step = np.asarray(run.status_code), np.asarray(run.status_step)
    cards = []
    for i in np.argsort(ok, kind="stable")[:MOST_CARDS].tolist():
        title, facts, flag = card(i)
        if not ok[i]:
            facts = dict.fromkeys(facts)
            flag = FAILURES.get(int(code[i]), "failed") + (f" at step {step[i]}" if step[i] >= 0 else "")
        cards.append(Card(title, tile(i), facts, flag))
    return cards
