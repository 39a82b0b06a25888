"""Compare training-free guidance methods on Fashion-MNIST labels, and write docs/results/label_guidance.md.

    python scripts/reproduce_label_guidance.py                 # tune, sample, report; stopped, the same command resumes
    python scripts/reproduce_label_guidance.py --per-class 8 --folder runs/quick --page runs/quick.md   # a quick look
    python scripts/reproduce_label_guidance.py --only dps lgd  # samples of these rows alone, for processes side by side

Every method is tuned with the same number of trials on seed 1, then reported on seed 0. The trial kept has the largest

    score = evaluator accuracy - 0.25 log2(Frechet distance / that of conditional samples)

so that a doubled distance must buy 25 points of accuracy.
"""

import json

import numpy as np
import tyro
from label_guidance.classes import by_class, named
from label_guidance.study import Run, Study, real_row, row_of
from label_guidance.ways import AWAY, AWAY_FIXED, TRIALS, Way, ablations, parts_of_way

from tfg_jax import TFG, Unguided, report
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug, write_atomically
from tfg_jax.host import keep_freed_memory
from tfg_jax.tasks.label import load_label_task
from tfg_jax.tasks.presets import LABEL_PRESETS

SHIFTED = (
    "none", "conditional", "lgd", "tfg4", "tfg4 ending", "none away", "tfg away", "tfg4 away",
    "tfg4 decrease away", "none, n_recur 4, v 0.5",
)  # fmt: skip


def main(run: Run) -> None:
    """Tune, sample, report."""
    longer = {"model": "fashion-mnist-longer", "steps": run.steps}
    study = Study(
        load_label_task(steps=run.steps),
        load_label_task(guide="fashion-mnist-guide", steps=run.steps),
        load_label_task(**longer),
        load_label_task(**longer, weak="fashion-mnist-first"),
        run,
    )
    recurrent = {f"none, n_recur 4{more}": Way(Unguided(n_recur=4), v=v) for more, v in (("", None), (", v 0.5", 0.5))}
    changed = (*recurrent, *ablations(TFG()), *parts_of_way({name: tried[0] for name, tried in TRIALS.items()}))
    plain, other = [name for name in TRIALS if name not in AWAY], (*AWAY_FIXED, *AWAY)
    wanted = run.only or ("none", "conditional", *plain, *other, *changed)
    conditional = Way(None, conditional=True)
    trial = study.samples("tune/conditional", conditional, 1, run.trial_per_class)[1]["frechet_distance"]
    methods, trials = {"none": Way(None), "conditional": conditional} | recurrent | AWAY_FIXED, []
    for name in TRIALS:
        if not any(row.split(",")[0] == name for row in wanted):
            continue
        tuned, tried = study.tune(name, trial)
        methods[name] = tuned
        trials += tried
        if name == "tfg":
            methods |= ablations(tuned.guidance)  # type: ignore[arg-type]
    methods |= parts_of_way(methods)
    print(report.text_table(trials), flush=True)

    rows, away, pictures, numbers = [real_row(study.task, 10 * run.per_class)], [], {}, {}
    shifts, real = [], named(study.task.judge, fashion_mnist.load("test")[0])
    few = run.ablation_per_class
    compared = [real_row(study.task, 10 * few)]
    for name in wanted:
        method, folder = methods[name], f"report/{slug(name)}"
        scored, found = study.samples(folder, method, 0, few if name in changed else run.per_class)
        pictures[name], numbers[name] = np.asarray(scored.x[:20]), found
        if name in SHIFTED:
            shifts.append({"method": name} | by_class(named(study.task.judge, np.asarray(scored.x[: 10 * few])), real))
        table = compared if name in changed else away if name in other else rows
        table.append(row_of(name, method, found))
        if name in ("none", "conditional", "lgd", "tfg", "tfg4", "tfg4 ending"):
            _, found = study.samples(folder, method, 0, run.per_class, first=10 * few)
            compared.append(row_of(name, method, found))
        print(report.text_table([table[-1]]), flush=True)
        if not run.only:
            report.write_json(run.folder / "numbers.json", numbers)
            write_page(run, rows, away, compared, shifts, trials, pictures)
    print(*map(report.text_table, (rows, away, compared)), sep="\n")


def write_page(
    run: Run, rows: list, away: list, compared: list, shifts: list, trials: list, pictures: dict[str, np.ndarray]
) -> None:
    """The generated part of the page: tables and picture; findings.md beside it is written by hand and kept."""
    run.page.parent.mkdir(parents=True, exist_ok=True)
    picture = run.page.with_suffix(".png")
    report.save_png(picture, report.grid(list(pictures.values()), row_labels=list(pictures), scale=2, gap=2))
    points = {row["method"]: (row["Fréchet distance"], row["evaluator accuracy"]) for row in rows}
    chart = run.page.with_name(f"{run.page.stem}_scatter.png")
    report.save_scatter(chart, points, "Fréchet distance (lower is better)", "evaluator accuracy")
    presets = {name: Way(preset).setting for name, preset in LABEL_PRESETS.items()}
    findings = run.page.with_name(f"{run.page.stem}_findings.md")
    text = [
        "# Label guidance on Fashion-MNIST",
        f"\nGenerated by `python scripts/reproduce_label_guidance.py`: {10 * run.per_class} samples a row, "
        f"{run.per_class} a class, on seed 0; DDIM, {run.steps} steps, eta 1, clean estimates clipped. "
        "Fréchet distances are in the evaluator's features, to the same moments of the 10,000 test images, at equal "
        "n and class balance; brackets are 95 % intervals. The evaluator never guides.\n",
        findings.read_text() if findings.exists() else "",
        "## Table\n",
        report.markdown_table(rows),
        f"\n![accuracy against distance]({chart.name})\n",
        "\n## Away from a weaker model\n\nThe same seeds, n and moments, from the network that was trained for longer "
        "(`longer`), and from that network guided away from its own first stage (`away`: `Autoguidance`, two forwards "
        "an evaluation), tuned like the rows above.\n",
        report.markdown_table(away),
        f"\n## One thing changed at a time\n\n{10 * run.ablation_per_class} samples a row, the first of those above; "
        "distances compare within this table alone.\n",
        report.markdown_table(compared),
        "\n## What the classes look like\n\nSquared distance in the evaluator's features between the mean of the "
        f"first {10 * run.ablation_per_class} samples that it calls a class, whatever was requested, and the mean "
        "of the test images that it calls so.\n",
        report.markdown_table(shifts),
        f"\nThe first twenty samples of each row, same seeds, every class twice:\n\n![samples]({picture.name})\n",
        f"\n## Tuning\n\n{len(TRIALS['tfg'])} trials a method, {10 * run.trial_per_class} samples each, on seed 1. "
        "Score: accuracy - 0.25 log2(distance / distance of conditional samples at that n).\n",
        report.markdown_table(trials),
        f"\nPresets shipped as `tfg_jax.tasks.presets`: {json.dumps(presets)}\n",
    ]
    write_atomically(run.page, lambda out: out.write("\n".join(text).encode()))


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
