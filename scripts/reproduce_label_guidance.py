"""Compare training-free guidance methods on Fashion-MNIST labels, and write docs/results/details/label_guidance.md.

    python scripts/reproduce_label_guidance.py                 # tune, sample, report; stopped, the same command resumes
    python scripts/reproduce_label_guidance.py --per-class 8 --folder runs/quick --page runs/quick.md   # a quick look
    python scripts/reproduce_label_guidance.py --only dps lgd  # samples of these rows alone, for processes side by side

Every method is tuned with the same number of trials on seed 1, then reported on seed 0. The trial kept has the largest

    score = evaluator accuracy - 0.25 log2(Frechet distance / that of conditional samples)

so that a doubled distance must buy 25 points of accuracy.
"""

import json
from typing import Any, NamedTuple

import numpy as np
import tyro
from label_guidance import guides
from label_guidance.classes import by_class, named
from label_guidance.study import Run, Study, real_row, row_of
from label_guidance.ways import AWAY, AWAY_FIXED, ESTIMATES, TAUGHT, TRIALS, Way, ablations

from tfg_jax import TFG, Unguided, load, report
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug
from tfg_jax.host import keep_freed_memory
from tfg_jax.metrics import METRICS
from tfg_jax.runs.page import write_details
from tfg_jax.tasks.fashion_mnist.presets import LABEL_PRESETS

SHIFTED = (
    "none", "conditional", "lgd", "tfg4", "none away", "tfg away", "tfg4 away", "tfg4 decrease away",
    "lgd estimates", "tfg estimates", "tfg4 estimates", *TAUGHT, "none, n_recur 4, v 0.5",
)  # fmt: skip


class Tables(NamedTuple):
    """The tables of the page, row by row."""

    rows: list[dict[str, Any]]
    away: list[dict[str, Any]]
    estimates: list[dict[str, Any]]
    taught: list[dict[str, Any]]
    compared: list[dict[str, Any]]
    shifts: list[dict[str, Any]]
    reading: list[dict[str, Any]]
    trials: list[dict[str, Any]]


def main(run: Run) -> None:
    """Tune, sample, report."""
    study = Study.load(run)
    recurrent = {f"none, n_recur 4{more}": Way(Unguided(n_recur=4), v=v) for more, v in (("", None), (", v 0.5", 0.5))}
    changed = (*recurrent, *ablations(TFG()))
    away = (*AWAY_FIXED, *AWAY)
    plain = ("none", "conditional", *(name for name in TRIALS if name not in away and name not in ESTIMATES))
    wanted = run.only or (*plain, *away, *ESTIMATES, *TAUGHT, *changed)
    conditional = Way(None, conditional=True)
    trial = study.samples("tune/conditional", conditional, 1, run.trial_per_class)[1]["frechet_distance"]
    methods, trials = {"none": Way(None), "conditional": conditional} | recurrent | AWAY_FIXED | TAUGHT, []
    for name in TRIALS:
        if not any(row.split(",")[0] == name for row in wanted):
            continue
        tuned, tried = study.tune(name, trial)
        methods[name] = tuned
        trials += tried
        if name == "tfg":
            methods |= ablations(tuned.guidance)  # type: ignore[arg-type]
    print(report.text_table(trials), flush=True)

    pictures, numbers, few = {}, {}, run.ablation_per_class
    shifts, real = [], named(study.task.judge, fashion_mnist.load("test")[0])
    rows, compared = [real_row(study.task, 10 * run.per_class)], [real_row(study.task, 10 * few)]
    reading = [] if run.only else guides.rows(study.task.model, study.guides, load("fashion-mnist-noisy"))
    tables = Tables(rows, [], [], [], compared, shifts, reading, trials)
    groups = {away: tables.away, tuple(ESTIMATES): tables.estimates, tuple(TAUGHT): tables.taught, changed: compared}
    home = {name: table for names, table in groups.items() for name in names}
    for name in wanted:
        method, folder = methods[name], f"report/{slug(name)}"
        scored, found = study.samples(folder, method, 0, few if name in changed else run.per_class)
        pictures[name], numbers[name] = np.asarray(scored.x[:20]), found
        if name in SHIFTED:
            shifts.append({"method": name} | by_class(named(study.task.judge, np.asarray(scored.x[: 10 * few])), real))
        table = home.get(name, rows)
        table.append(row_of(name, method, found))
        if name in ("none", "conditional", "lgd", "tfg", "tfg4"):
            _, found = study.samples(folder, method, 0, run.per_class, first=10 * few)
            compared.append(row_of(name, method, found))
        print(report.text_table([table[-1]]), flush=True)
        if not run.only:
            report.write_json(run.folder / "numbers.json", numbers)
            write_page(run, tables, pictures)
    print(*map(report.text_table, filter(None, tables)), sep="\n")


def write_page(run: Run, tables: Tables, pictures: dict[str, np.ndarray]) -> None:
    """The generated part of the page: tables and picture; findings.md beside it is written by hand and kept."""
    run.page.parent.mkdir(parents=True, exist_ok=True)
    picture = run.page.with_suffix(".png")
    report.save_png(picture, report.grid(list(pictures.values()), row_labels=list(pictures), scale=2, gap=2))
    across, up = METRICS["frechet_distance"], METRICS["evaluator_accuracy"]
    points = {row["method"]: (row[across.header()], row[up.header()]) for row in tables.rows}
    chart = run.page.with_name(f"{run.page.stem}_scatter.png")
    report.save_scatter(chart, points, across.axis, up.axis)
    presets = {name: Way(preset).setting for name, preset in LABEL_PRESETS.items()}
    findings = run.page.with_name(f"{run.page.stem}_findings.md")
    text = [
        "# Label guidance on Fashion-MNIST",
        f"\nGenerated by `python scripts/reproduce_label_guidance.py`: {10 * run.per_class} samples a row, "
        f"{run.per_class} a class, on seed 0; DDIM, {run.steps} steps, eta 1, denoised estimates clipped. "
        "Fréchet distances are in the evaluator's features, to the same moments of the 10,000 test images, at equal "
        "n and class balance; brackets are 95 % intervals. The evaluator never guides.\n",
        findings.read_text() if findings.exists() else "",
        "## Table\n",
        report.markdown_table(tables.rows),
        f"\n![accuracy against distance]({chart.name})\n",
        "\n## Away from a weaker model\n\nThe same seeds, n and moments, from the network that was trained for longer "
        "(`longer`), and from that network guided away from its own first stage (`away`: `Autoguidance`, two forwards "
        "an evaluation), tuned like the rows above.\n",
        report.markdown_table(tables.away),
        "\n## By a guide that knows estimates\n\nThe same again, guided by `fashion-mnist-guide-estimates`, which has "
        "also seen images as a linear denoiser estimates them (`estimates`), in the place of "
        "`fashion-mnist-guide-robust`, which guides every other row but one.\n",
        report.markdown_table(tables.estimates),
        "\n## From a network whose unconditional half was taught\n\nThe same again, from `fashion-mnist-taught`, whose "
        "unconditional half learned the estimates of the conditional one (`taught`); `away` is guided away from the "
        "first stage, two forwards an evaluation. Settings were chosen by looks at 320 samples on seed 1.\n",
        report.markdown_table(tables.taught),
        f"\n## One thing changed at a time\n\n{10 * run.ablation_per_class} samples a row, the first of those above; "
        "distances compare within this table alone.\n",
        report.markdown_table(tables.compared),
        "\n## What the classes look like\n\nSquared distance in the evaluator's features between the mean of the "
        f"first {10 * run.ablation_per_class} samples that it calls a class, whatever was requested, and the mean "
        "of the test images that it calls so.\n",
        report.markdown_table(tables.shifts),
        "\n## How the guides read estimates\n\nLoss in nats (accuracy) on the network's clipped denoised estimates of "
        "1,000 test images, by the log-SNR of what it saw; last, the classifier of noisy images on that itself.\n",
        report.markdown_table(tables.reading),
        f"\nThe first twenty samples of each row, same seeds, every class twice:\n\n![samples]({picture.name})\n",
        f"\n## Tuning\n\n{len(TRIALS['tfg'])} trials a method, {10 * run.trial_per_class} samples each, on seed 1. "
        "Score: accuracy - 0.25 log2(distance / distance of conditional samples at that n).\n",
        report.markdown_table(tables.trials),
        f"\nPresets shipped as `tfg_jax.tasks.fashion_mnist.presets`: {json.dumps(presets)}\n",
    ]
    write_details(run.page, "\n".join(text))


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
