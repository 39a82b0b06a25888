"""The guide and its long page, from what has been measured."""

from pathlib import Path
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure
from studied import Known, Options

from tfg_jax.files import write_atomically, write_bytes
from tfg_jax.report.table import markdown_table
from tfg_jax.runs.page import page_text, tables_of, write_details

from .measure import STEPS, study_of
from .methods import FACTORS, ROWS, Row

Measured = list[dict[str, Any]]
WORST = 2.0
"""What a setting counts in a mean where it does not work, and the most that any counts: twice as far as unguided."""
SHOWN = ("exact score", "TFG, rho", "TFG, mu", "DPS", "LGD", "UGD", "PiGDM, score", "two Euler steps ahead")
BY_NAME = {row.name: row for row in ROWS}


def by_factor(rows: Measured, which: str, steps: int) -> np.ndarray:
    """Distances (problems, factors) of one method at a number of steps, at most `WORST`."""
    values = [row["steps"].get(str(steps), row["steps"]["20"])[which] for row in rows]
    return np.minimum(np.array([[WORST if v is None else v for v in each] for each in values]), WORST)


def common_factor(rows: Measured) -> int:
    """The trial that is best on average over problems and numbers of steps, on the seed that chooses."""
    return int(np.mean([by_factor(rows, "choosing", steps).mean(axis=0) for steps in STEPS], axis=0).argmin())


def strength_text(row: Row, factor: float) -> str:
    """A strength as it is written in code."""
    return f"{row.unit * factor:.3g}{' / steps' if row.shared else ''}"


def start_table(measured: Measured) -> list[dict[str, str]]:
    """One strength a method for all problems and numbers of steps."""
    table = []
    for row in ROWS:
        rows = [each for each in measured if each["method"] == row.name]
        if not rows:
            continue
        k = common_factor(rows)
        cells = {"method": row.name, "s": strength_text(row, FACTORS[k])}
        for steps in STEPS:
            mean = by_factor(rows, "reported", steps)[:, k].mean()
            cells[f"{steps} steps"] = f"{mean:.2f}" if row.sampled or steps == STEPS[0] else "–"
        table.append({**cells, "problems": str(len(rows)), "code": row.code})
    return table


def best_table(rows: Measured) -> list[dict[str, str]]:
    """Of one problem, every method at its best strength."""
    table = []
    for each in rows:
        row, cells = BY_NAME[each["method"]], {"method": each["method"]}
        for steps in STEPS:
            numbers = each["steps"].get(str(steps))
            if numbers is None:
                cells |= {f"{steps} steps": "–", f"s at {steps}": "–"}
                continue
            k = int(by_factor([each], "choosing", steps)[0].argmin())
            value, error = numbers["reported"][k], numbers["error"][k]
            cells[f"{steps} steps"] = "failed" if value is None else f"{value:.2f} ± {2 * error:.2f}"
            cells[f"s at {steps}"] = strength_text(row, FACTORS[k]) + (" (edge)" if k in (0, len(FACTORS) - 1) else "")
        table.append(cells)
    return table


def trials_table(rows: Measured) -> list[dict[str, str]]:
    """Of one problem, every trial."""
    return [
        {"method": each["method"], "steps": steps if BY_NAME[each["method"]].sampled else "–",
         "unit": strength_text(BY_NAME[each["method"]], 1.0),
         **{f"x {factor:g}": "–" if value is None else f"{value:.3g}"
            for factor, value in zip(FACTORS, numbers["reported"], strict=True)}}
        for each in rows for steps, numbers in each["steps"].items()
    ]  # fmt: skip


def details(measured: Measured) -> str:
    """The long page."""
    parts = [
        "# Which method and which strength: all measurements",
        "Written by `python scripts/which_method.py`. The short page is [which method, which strength]"
        "(../../which_method.md). Every number is a sliced 2-Wasserstein distance of samples to exact ones of "
        "p(x) exp(f(x)), divided by the distance of unguided samples of the same number: 0 is exact, 1 unguided. "
        "The strength s of each method has seven trials, a factor of two apart; the best is chosen on one seed and "
        "reported on another. A dash in place of a number: more than 2 % of the samples failed, which counts "
        f"{WORST:g} in means, as does all that is further.",
        "## One strength for all problems",
        "Means over the problems that a method can be used on.",
        markdown_table(start_table(measured)),
    ]
    for name in dict.fromkeys(each["problem"] for each in measured):
        rows = [each for each in measured if each["problem"] == name]
        first = rows[0]
        parts += [
            f"## {name}",
            f"{first['text'].capitalize()}; {first['samples']} samples. Unguided: {first['unguided']:.2f} away; "
            f"exact ones of the same number are at {first['floor']:.2f}. The bound after ± is twice the bootstrap's "
            "standard error.",
            markdown_table(best_table(rows)),
            f"### {name}: every trial",
            markdown_table(trials_table(rows)),
        ]
    return "\n\n".join(parts) + "\n"


def figure(measured: Measured, file: Path) -> None:
    """Distance against strength at 50 steps, one panel a problem."""
    names = list(dict.fromkeys(each["problem"] for each in measured))
    drawing = Figure((11, 3.1), layout="constrained")
    panels = drawing.subplots(1, len(names), sharex=True, sharey=True)
    for axes, name in zip(np.atleast_1d(panels), names, strict=True):
        rows = {each["method"]: each for each in measured if each["problem"] == name}
        for i, method in enumerate(SHOWN):
            if method in rows:
                values = [np.nan if v is None else v for v in rows[method]["steps"]["50"]["reported"]]
                axes.loglog(FACTORS, values, ".-", color=f"C{i}", label=method, linewidth=1)
        axes.axhline(next(iter(rows.values()))["floor"], color="0.5", linestyle=":", linewidth=1)
        axes.set(title=name, ylim=(0.025, 3))
        axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_xticks(FACTORS[::2], [f"{factor:g}" for factor in FACTORS[::2]])
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    handles = {h.get_label(): h for axes in np.atleast_1d(panels) for h in axes.get_lines() if h.get_label() in SHOWN}
    drawing.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=8)
    drawing.supxlabel("strength / its unit")
    drawing.supylabel("distance, unguided = 1")
    write_atomically(file, lambda out: drawing.savefig(out, format="png", dpi=110, metadata={"Software": None}))


def write_pages(options: Options, known: Known) -> None:
    """The long page, with its tables and figure beside it, and the guide docs/which_method.md; once all is known."""
    rows = study_of(options).rows
    if any(row.name not in known for row in rows):
        return
    measured = [report for row in rows if (report := known[row.name]["report"])]
    text = details(measured)
    page = page_text(Path(__file__).with_name("page.md.jinja").read_text("utf-8"), tables_of(text))
    write_details(options.page, text)
    figure(measured, options.page.with_suffix(".png"))
    write_bytes(options.page.parents[2] / options.page.name, page.encode())
