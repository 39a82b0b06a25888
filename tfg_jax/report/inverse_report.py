"""The report of a restoration run: metrics.json, grid.png and report.html from plain arrays."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.kinds import public
from tfg_jax.metrics import spread_map
from tfg_jax.metrics.inverse_run import InverseRun, inverse_metrics, per_draw
from tfg_jax.metrics.titles import COSTS, INVERSE, METRICS, titled
from tfg_jax.report import html, images
from tfg_jax.report.curves import line_chart
from tfg_jax.report.files import write_json
from tfg_jax.report.label_report import FAILURES, step_curve
from tfg_jax.report.table import counted, with_failed

MOST_ROWS, MOST_DRAWS, MOST_CARDS = 20, 4, 60


@public
def inverse_report(folder: str | os.PathLike[str], run: InverseRun, title: str = "Restoration") -> dict[str, Any]:
    """Write metrics.json, grid.png and report.html into a folder, each atomically, and return the metrics.

    folder: created if missing. run: see `InverseRun`. Raises ValueError if its arrays do not fit each other.
    """
    folder = Path(folder)
    found = inverse_metrics(run)
    write_json(folder / "metrics.json", found)
    picture = restoration_grid(run)
    images.save_png(folder / "grid.png", picture)
    html.write_report(folder / "report.html", title, _sections(run, found, picture))
    return found


def restoration_grid(run: InverseRun, scale: int = 3) -> images.Pixels:
    """One row an image: truth (if known), measurement, draws, their mean and the standard deviation of every pixel."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # an image without a finished draw has a mean of NaN: a red tile
        draws = run.by_image(run.x)
        mean = np.nanmean(draws, axis=1)
    shown = min(run.draws, MOST_DRAWS)
    found = per_draw(run)
    under_draws = run.by_image(found["psnr"] if run.truth is not None else found["residual"] / run.noise_std)
    unit = "{:.1f} dB" if run.truth is not None else "{:.2f} noise"
    # 0 is black, and white a standard deviation of half the range.
    spread = 2.0 * np.minimum(spread_map(draws), 1.0) - 1.0 if run.draws > 1 else None
    rows, captions = [], []
    for i in range(min(len(run.pictures), MOST_ROWS)):
        tiles = [np.asarray(run.pictures[i]), *draws[i, :shown]]
        under = ["measured", *(unit.format(d) if np.isfinite(d) else "failed" for d in under_draws[i, :shown])]
        if run.truth is not None:
            tiles, under = [np.asarray(run.truth[i]), *tiles], ["truth", *under]
        if spread is not None:
            tiles, under = [*tiles, mean[i], spread[i]], [*under, "mean", "std"]
        rows.append(np.stack([np.asarray(tile, np.float64) for tile in tiles]))
        captions.append(under)
    labels = [str(name)[:16] for name in run.names[: len(rows)]]
    return images.grid(rows, row_labels=labels, captions=captions, scale=scale, gap=4)


def _sections(run: InverseRun, found: Mapping[str, Any], picture: images.Pixels) -> list[html.Section]:
    text = (
        f"{counted(found['images'], 'image')}, {counted(run.draws, 'draw')} each: "
        f"{with_failed(found['samples'], found['failed_samples'])}; intervals of 95 % are "
        "over images. A residual / noise of 1 fits the measurement as well as the truth does."
    )
    known = run.truth is not None
    shown = "truth, measurement, draws with their PSNR" if known else "measurement, draws with their residual / noise"
    caption = (
        f"One row an image (at most {MOST_ROWS}): {shown}, their mean, and the "
        "standard deviation of every pixel (black 0, white 1 or more). Red tiles failed."
    )
    summary: list[html.Block] = [html.Text(note, warning=True) for note in run.notes]
    summary += [html.Text(text), html.Numbers(titled(found, INVERSE))]
    sections = [
        html.Section("Summary", summary),
        html.Section("Images", [html.Figure(picture, "Grid of measurements and draws", caption)]),
        html.Section("By image", [html.Table(_rows(run), caption="Means over the draws of an image")]),
    ]
    if run.path is not None:
        chart = line_chart({"mean": step_curve(run.path)}, "sampling step", "norm of the residual")
        note = "At the denoised estimate, over the draws that stayed finite; the band holds the middle 80 % of them."
        sections.append(html.Section("Residual", [html.Figure(chart, "Residual against sampling step", note)]))
    sections.append(html.Section("Cost", [html.Numbers(titled(found, [*COSTS.values(), "seconds"]))]))
    sections.append(html.Section("Single draws", _cards(run)))
    if run.config:
        sections.append(html.Section("Configuration", [html.Config(run.config)]))
    return sections


def _rows(run: InverseRun) -> list[dict[str, Any]]:
    values = {name: run.by_image(each) for name, each in per_draw(run).items()}
    values["residual_per_noise_std"] = values.pop("residual") / run.noise_std
    titles = {key: METRICS[key].header() for key in values}
    rows = []
    for i, name in enumerate(run.names):
        means = {
            titles[k]: float(np.mean(v[i][np.isfinite(v[i])])) for k, v in values.items() if np.isfinite(v[i]).any()
        }
        rows.append({"image": name, **{titles[k]: means.get(titles[k]) for k in values}})
    return rows


def _cards(run: InverseRun) -> list[html.Block]:
    """Failures first, then the draws in order: what went wrong must not hide behind the first page."""
    ok, x, values = run.ok(), np.asarray(run.x), per_draw(run)
    code, step = np.asarray(run.status_code), np.asarray(run.status_step)
    cards = []
    for i in np.argsort(ok, kind="stable")[:MOST_CARDS].tolist():
        tile = images.to_pixels(x[i] if ok[i] else np.full_like(x[i], np.nan), 2)
        facts: dict[str, Any] = {"residual / noise": f"{values['residual'][i] / run.noise_std:.2f}"}
        if run.truth is not None:
            facts = {"PSNR": f"{values['psnr'][i]:.1f}", "SSIM": f"{values['ssim'][i]:.3f}"}
        flag = ""
        if not ok[i]:
            facts = dict.fromkeys(facts)
            flag = FAILURES.get(int(code[i]), "failed") + (f" at step {step[i]}" if step[i] >= 0 else "")
        cards.append(html.Card(f"#{i} {run.names[i // run.draws]}", tile, facts, flag))
    return [html.Text(f"{len(cards)} of {counted(len(ok), 'draw')}, failed ones first."), html.Cards(cards)]
