"""Compare training-free guidance methods on Fashion-MNIST labels, and write docs/results/label_guidance.md.

    python scripts/reproduce_label_guidance.py                 # tune, sample, report; stopped, the same command resumes
    python scripts/reproduce_label_guidance.py --per-class 8 --folder runs/quick --page runs/quick.md   # a quick look
    python scripts/reproduce_label_guidance.py --only dps lgd  # samples of these rows alone, for processes side by side

Every method is tuned with the same number of trials on seed 1, then reported on seed 0. The trial kept has the largest

    score = evaluator accuracy - 0.25 log2(Frechet distance / that of conditional samples)

so that a doubled distance must buy 25 points of accuracy.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from label_guidance.classes import by_class, named
from label_guidance.ways import PURE_NOISE, TRIALS, Way, ablations, parts_of_way, strengths

from tfg_jax import TFG, Unguided, metrics, report
from tfg_jax.cli import runs, scoring, setup
from tfg_jax.cli.main import Interrupted
from tfg_jax.cli.methods import Method
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug, write_atomically
from tfg_jax.host import keep_freed_memory
from tfg_jax.report.label_report import LabelRun, label_metrics
from tfg_jax.samplers.rules import DDPM
from tfg_jax.shards import open_folder
from tfg_jax.tasks.label import LabelTask, balanced_targets, load_label_task
from tfg_jax.tasks.presets import LABEL_PRESETS

SHIFTED = ("none", "conditional", "lgd", "tfg4", "tfg4 ending", "none, n_recur 4, v 0.5")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run and where it goes."""

    per_class: int = 128  # reported samples a class
    ablation_per_class: int = 64  # of the rows that change one thing of TFG
    trial_per_class: int = 10  # tuning samples a class
    steps: int = 50
    chunk: int = 20  # small arrays stay in the cache of a CPU core
    only: tuple[str, ...] = ()  # rows to sample, without a page; () is all of them, and the page
    folder: Path = Path("runs/label_guidance")  # samples, for resuming
    page: Path = Path("docs/results/label_guidance.md")


@dataclasses.dataclass(frozen=True)
class Study:
    """The task, and samples of any method on any seed, kept in folders."""

    task: LabelTask
    narrow: LabelTask  # with the guide that has seen little noise
    run: Run

    def samples(
        self, name: str, way: Way, seed: int, per_class: int, first: int | None = None
    ) -> tuple[LabelRun, dict[str, Any]]:
        """Samples and metrics of a way (of the ``first`` of them); only what is missing on disk is computed."""
        task, method = self.narrow if way.narrow else self.task, Method(way.guidance, way.conditional)
        if way.v is not None:
            task = dataclasses.replace(task, sampler=DDPM(self.run.steps, way.v))
        if way.until is not None:
            task = dataclasses.replace(task, window=(PURE_NOISE, way.until))
        targets = balanced_targets(10 * per_class)
        options: Any = dataclasses.make_dataclass("Options", [("seed", int)])(seed)
        config = setup.sample_config(options, task, method, targets)
        home = self.run.folder / name
        with open_folder(home, config, len(targets), min(self.run.chunk, len(targets))) as folder:
            if runs.fill(folder, task, method, targets, name):
                raise Interrupted(f"interrupted after {name}; the same command resumes")
            arrays, seconds = folder.read_all(), sum(runs.read_seconds(home).values())
        arrays = {key: array[:first] for key, array in arrays.items()}
        scored = scoring.label_run(task.judge, task.class_names, arrays, seconds, config)
        return scored, label_metrics(scored)

    def tune(self, name: str, reference: float) -> tuple[Way, list[dict[str, Any]]]:
        """The best of a method's trials on the tuning seed, and all of them as rows."""
        rows = []
        for way in TRIALS[name]:
            trial = f"tune/{slug(name)}-{'-'.join(map(str, strengths(way)))}"
            _, found = self.samples(trial, way, 1, self.run.trial_per_class)
            score = found["evaluator_accuracy"] - 0.25 * math.log2(found["frechet_distance"] / reference)
            rows.append(
                {
                    "method": name,
                    "setting": way.setting,
                    "accuracy": round(found["evaluator_accuracy"], 3),
                    "Fréchet distance": round(found["frechet_distance"], 1),
                    "score": round(score, 3),
                }
            )
        best = int(np.argmax([row["score"] for row in rows]))
        return TRIALS[name][best], [{**row, "kept": "yes" if i == best else ""} for i, row in enumerate(rows)]


def row_of(name: str, way: Way, found: dict[str, Any]) -> dict[str, Any]:
    """One line of the main table."""
    return {
        "method": name,
        "setting": way.setting,
        "evaluator accuracy": scoring.estimate(found, "evaluator_accuracy"),
        "Fréchet distance": scoring.estimate(found, "frechet_distance"),
        "high frequencies / real": scoring.estimate(found, "high_frequency_ratio"),
        "forwards": found["network_forwards_per_sample"],
        "pullbacks": found["network_pullbacks_per_sample"],
        "objective gradients": found["objective_gradients_per_sample"],
    }


def real_row(task: LabelTask, n: int) -> dict[str, Any]:
    """Real test images on the same scale, at equal n and class balance."""
    images, labels = fashion_mnist.load("test")
    chosen = np.concatenate([np.flatnonzero(labels == c)[: n // 10] for c in range(10)])
    scores = task.judge.score(images[chosen])
    distance = metrics.frechet_with_ci(scores.features, task.judge.moments)  # type: ignore[arg-type]
    return {
        "method": "real test images",
        "setting": "-",
        "evaluator accuracy": metrics.accuracy(scores.evaluator_logits, labels[chosen]),
        "Fréchet distance": distance,
        "high frequencies / real": metrics.high_frequency_ratio(images[chosen], task.judge.images),  # type: ignore[arg-type]
        "forwards": 0,
        "pullbacks": 0,
        "objective gradients": 0,
    }


def main(run: Run) -> None:
    """Tune, sample, report."""
    study = Study(load_label_task(steps=run.steps), load_label_task(guide="fashion-mnist-guide", steps=run.steps), run)
    recurrent = {f"none, n_recur 4{more}": Way(Unguided(n_recur=4), v=v) for more, v in (("", None), (", v 0.5", 0.5))}
    changed = (*recurrent, *ablations(TFG()), *parts_of_way({name: tried[0] for name, tried in TRIALS.items()}))
    wanted = run.only or ("none", "conditional", *TRIALS, *changed)
    conditional = Way(None, conditional=True)
    trial = study.samples("tune/conditional", conditional, 1, run.trial_per_class)[1]["frechet_distance"]
    methods, trials = {"none": Way(None), "conditional": conditional} | recurrent, []
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

    rows, pictures, numbers = [real_row(study.task, 10 * run.per_class)], {}, {}
    shifts, real = [], named(study.task.judge, fashion_mnist.load("test")[0])
    few = run.ablation_per_class
    compared = [real_row(study.task, 10 * few)]
    for name in wanted:
        method, folder = methods[name], f"report/{slug(name)}"
        scored, found = study.samples(folder, method, 0, few if name in changed else run.per_class)
        pictures[name], numbers[name] = np.asarray(scored.x[:20]), found
        if name in SHIFTED:
            shifts.append({"method": name} | by_class(named(study.task.judge, np.asarray(scored.x[: 10 * few])), real))
        (compared if name in changed else rows).append(row_of(name, method, found))
        if name in ("none", "conditional", "lgd", "tfg", "tfg4", "tfg4 ending"):
            _, found = study.samples(folder, method, 0, run.per_class, first=10 * few)
            compared.append(row_of(name, method, found))
        print(report.text_table([(compared if name in changed else rows)[-1]]), flush=True)
        if not run.only:
            report.write_json(run.folder / "numbers.json", numbers)
            write_page(run, rows, compared, shifts, trials, pictures)
    print(report.text_table(rows), "\n", report.text_table(compared))


def write_page(
    run: Run, rows: list, compared: list, shifts: list, trials: list, pictures: dict[str, np.ndarray]
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
