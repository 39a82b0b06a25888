"""The report of a restoration run: metrics.json, grid.png and report.html from plain arrays."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfg_jax.kinds import public
from tfg_jax.metrics.inverse_run import InverseRun, inverse_metrics, per_draw
from tfg_jax.metrics.titles import INVERSE, METRICS
from tfg_jax.report.images import Pixels, grid
from tfg_jax.report.page import Figure, Report, Section, Table
from tfg_jax.report.run import image_tile, run_report, step_section
from tfg_jax.report.table import counted, with_failed
from tfg_jax.rows import as_rows

MOST_ROWS, MOST_DRAWS = 20, 4


@public
def inverse_report(folder: str | os.PathLike[str], run: InverseRun, title: str = "Restoration") -> dict[str, Any]:
    """Write metrics.json, grid.png and report.html into a folder, each atomically, and return the metrics.

    folder: created if missing. run: see `InverseRun`. Raises ValueError if its arrays do not fit each other.
    """
    numbers = inverse_metrics(run)
    restoration_report(run, numbers, title).write(folder)
    return numbers


def restoration_report(run: InverseRun, numbers: Mapping[str, Any], title: str) -> Report:
    """The report of a run with these `inverse_metrics`."""
    values = per_draw(run)
    values["residual_per_noise_std"] = values.pop("residual") / run.noise_std
    known = run.truth is not None
    single = ("psnr", "ssim") if known else ("residual_per_noise_std",)
    shown = "truth, measurement, draws with their PSNR" if known else "measurement, draws with their residual / noise"
    caption = (
        f"One row an image (at most {MOST_ROWS}): {shown}, their mean, and the "
        "standard deviation of every pixel (black 0, white 1 or more). Red tiles failed."
    )
    picture = restoration_grid(run, values)
    sections = [
        Section("Images", [Figure(picture, "Grid of measurements and draws", caption)]),
        Section("By image", [Table(_rows(run, values), caption="Means over the draws of an image")]),
    ]
    if run.path is not None:
        note = "At the denoised estimate, over the draws that stayed finite; the band holds the middle 80 % of them."
        sections.append(step_section("Residual", run.path, "norm of the residual", note))

    def card(i: int) -> tuple[str, dict[str, Any], str]:
        facts = {METRICS[key].title: f"{values[key][i]:{METRICS[key].digits}}" for key in single}
        return f"#{i} {run.names[i // run.draws]}", facts, ""

    text = (
        f"{counted(numbers['images'], 'image')}, {counted(run.draws, 'draw')} each: "
        f"{with_failed(numbers['samples'], numbers['failed_samples'])}; intervals of 95 % are "
        "over images. A residual / noise of 1 fits the measurement as well as the truth does."
    )
    return run_report(
        title, run, numbers, picture, text=text, shown=INVERSE, sections=sections, card=card,
        tile=image_tile(run, run.x), noun="draw",
    )  # fmt: skip


def restoration_grid(run: InverseRun, values: Mapping[str, np.ndarray], scale: int = 3) -> Pixels:
    """One row an image: truth (if known), measurement, draws, their mean and the standard deviation of every pixel."""
    shown, x, ok = min(run.draws, MOST_DRAWS), as_rows(run.x), run.ok()
    facts = run.by_image(values["psnr"] if run.truth is not None else values["residual_per_noise_std"])
    unit = "{:.1f} dB" if run.truth is not None else "{:.2f} noise"
    rows, captions = [], []
    for i in range(min(len(run.pictures), MOST_ROWS)):
        mine = np.arange(i * run.draws, (i + 1) * run.draws)
        restored = np.where(ok[mine[:shown], None, None, None], x[mine[:shown]], np.nan)
        tiles = [np.asarray(run.pictures[i]), *restored]
        under = ["measured", *(unit.format(d) if np.isfinite(d) else "failed" for d in facts[i, :shown])]
        if run.truth is not None:
            tiles, under = [np.asarray(run.truth[i]), *tiles], ["truth", *under]
        if run.draws > 1:
            mean, spread = run.mean_and_spread(i)
            # 0 is black, and white a standard deviation of half the range; a red tile where a draw failed.
            spread = 2.0 * np.minimum(spread, 1.0) - 1.0 if ok[mine].all() else np.full_like(spread, np.nan)
            tiles, under = [*tiles, mean, spread], [*under, "mean", "std"]
        rows.append(np.stack([np.asarray(tile, np.float64) for tile in tiles]))
        captions.append(under)
    labels = [str(name)[:16] for name in run.names[: len(rows)]]
    return grid(rows, row_labels=labels, captions=captions, scale=scale, gap=4)


def _rows(run: InverseRun, values: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One line an image: the means over its finished draws."""
    by_image = {METRICS[key].header(): run.by_image(each) for key, each in values.items()}
    finite = {title: [each[np.isfinite(each)] for each in rows] for title, rows in by_image.items()}
    return [
        {"image": name, **{title: float(rows[i].mean()) if len(rows[i]) else None for title, rows in finite.items()}}
        for i, name in enumerate(run.names)
    ]
