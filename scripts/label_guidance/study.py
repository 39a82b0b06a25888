"""The rows of the study of label guidance: how each is measured, and what it costs."""

import dataclasses
import math
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import studied

from label_guidance import guides
from label_guidance.classes import Named, by_class, named
from label_guidance.variants import AWAY, AWAY_FIXED, ESTIMATES, TAUGHT, TRIALS, Variant, ablations, strengths
from tfg_jax import DDIM, TFG, Autoguidance, Denoiser, Unguided, load, metrics, upper_cost
from tfg_jax.data import fashion_mnist
from tfg_jax.files import slug
from tfg_jax.locks import lock
from tfg_jax.metrics import label_metrics
from tfg_jax.objectives.classifier import Classifier
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.store import fingerprint, read_folder
from tfg_jax.runs.study import Row, Study
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.label import LabelTask, label_run
from tfg_jax.tasks.scoring import load_as

REAL, GUIDES = "real test images", "guides on estimates"
COMPARED = ("none", "conditional", "lgd", "tfg", "tfg4")  # whose first samples compare with the rows of ablations
SHIFTED = (
    "none", "conditional", "lgd", "tfg4", "none away", "tfg away", "tfg4 away", "tfg4 decrease away",
    "lgd estimates", "tfg estimates", "tfg4 estimates", *TAUGHT, "none, n_recur 4, v 0.5",
)  # fmt: skip
FIXED = {"none": Variant(None), "conditional": Variant(None, conditional=True), **AWAY_FIXED, **TAUGHT}
RECURRENT = {f"none, n_recur 4{more}": Variant(Unguided(n_recur=4), v=v) for more, v in (("", None), (", v 0.5", 0.5))}
ABLATIONS = ablations(TFG(0.5, None, 1.0))  # of the best trial; here for their names
CHANGED = (*RECURRENT, *ABLATIONS)
ASIDE = {"away": (*AWAY_FIXED, *AWAY), "estimates": tuple(ESTIMATES), "taught": tuple(TAUGHT), "changed": CHANGED}
MAIN = ("none", "conditional", *(name for name in TRIALS if name not in ASIDE["away"] + ASIDE["estimates"]))
TABLES = {"main": MAIN, **ASIDE}


@dataclasses.dataclass(frozen=True)
class Options(studied.Options):
    """What is run and where it goes."""

    folder: Path = Path("runs/label_guidance")
    page: Path = Path("docs/results/details/label_guidance.md")
    per_class: int = 128  # reported samples a class
    ablation_per_class: int = 64  # of the rows that change one thing of TFG
    trial_per_class: int = 10  # tuning samples a class
    steps: int = 50


def study_of(options: Options) -> Study:
    """All rows."""
    label, rows = Label(options), []
    inputs = lambda: label.hashes  # noqa: E731
    sizes = {"steps": options.steps, "few": options.ablation_per_class}
    for table, names in TABLES.items():
        for name in names:
            variants = TRIALS.get(name) or [(FIXED | RECURRENT | ABLATIONS)[name]]
            per_class = options.ablation_per_class if table == "changed" else options.per_class
            trials = 10 * options.trial_per_class if len(variants) > 1 else 0
            config = sizes | {"ways": [variant.config for variant in variants], "per_class": per_class, "trial": trials}
            if name in ABLATIONS:
                config["of"] = [variant.config for variant in TRIALS["tfg"]]
            cost = upper_cost(variants[0].guidance, None, DDIM(options.steps))
            evaluations = int(cost.forwards + cost.pullbacks) * (1 if variants[0].w is None else 2)
            samples = 10 * per_class + trials * len(variants)
            rows.append(
                Row(name, table, config, partial(label.measure, name, per_class), variants, samples,
                    evaluations=evaluations, seconds=evaluations * samples / options.rate, inputs=inputs,
                    claim="tfg" if "of" in config else name)
            )  # fmt: skip
    for n in sorted({10 * options.per_class, 10 * options.ablation_per_class}):
        measure = partial(label.measure_real, n)
        rows.append(Row(f"{REAL}, n {n}", REAL, {"samples": n}, measure, inputs=inputs))
    rows.append(Row(GUIDES, GUIDES, {}, label.measure_guides, inputs=inputs))
    return Study(options.folder, rows)


def samples_of(options: Options, name: str) -> Path:
    """Where the reported samples of a row lie."""
    return options.folder / "report" / slug(name)


class Label:
    """The networks, loaded when the first row is measured, and how rows are measured with them."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @cached_property
    def tasks(self) -> dict[str | None, LabelTask]:
        """The task by the guide."""
        each = {None: "-robust", "estimates": "-estimates", "narrow": ""}
        steps = self.options.steps
        return {key: load_label_task(guide=f"fashion-mnist-guide{end}", steps=steps) for key, end in each.items()}

    @cached_property
    def networks(self) -> dict[str, Denoiser]:
        """Stages of the task's network."""
        return {stage: load_as(f"fashion-mnist-{stage}", Denoiser) for stage in ("first", "longer", "taught")}

    @property
    def guides(self) -> dict[str, Classifier]:
        """The classifiers of clean images, by their short names."""
        return {key or "robust": task.guide for key, task in self.tasks.items()}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of the networks."""
        task = self.tasks[None]
        each: Any = {"model": task.model, "evaluator": task.evaluator.network, **self.guides, **self.networks}
        return {name: fingerprint(network.params) for name, network in each.items()}

    @cached_property
    def real(self) -> Named:
        """Test images."""
        return named(self.tasks[None].evaluator, fashion_mnist.load("test")[0])

    @cached_property
    def reference(self) -> float:
        """Distance of conditional samples on the seed of trials."""
        with lock(self.options.folder / "claims/reference", wait=True):
            folder = self.options.folder / "tune/conditional"
            return self.numbers(folder, FIXED["conditional"], 1, self.options.trial_per_class)["frechet_distance"]

    @cached_property
    def tuned(self) -> TFG:
        """The best trial of TFG."""
        study = study_of(self.options)
        known = study.known().get("tfg")
        (row,) = study.selected(["main", "tfg"])
        guidance: Any = TRIALS["tfg"][row.tune()[0] if known is None else known["kept"]].guidance
        return guidance

    def task_of(self, variant: Variant) -> LabelTask:
        """The task with the networks and the sampler of a way."""
        task = self.tasks[variant.guide]
        if variant.network is not None:
            network = self.networks[variant.network]
            if variant.w is not None:
                network = Autoguidance(network, self.networks["first"], variant.w)
            task = dataclasses.replace(task, model=network)
        return task if variant.v is None else dataclasses.replace(task, sampler=DDPM(self.options.steps, variant.v))

    def numbers(
        self, folder: Path, variant: Variant, seed: int, per_class: int, first: int | None = None
    ) -> dict[str, Any]:
        """Metrics of samples (of the ``first`` of them); only what is missing on disk is computed."""
        task, n = self.task_of(variant), 10 * per_class
        name = str(folder.relative_to(self.options.folder))
        run = Run(
            task, variant.guidance, n, seed, min(self.options.chunk, n), conditional=variant.conditional, name=name
        )
        arrays = {key: array[:first] for key, array in run.samples(folder).items()}
        return label_metrics(label_run(task.evaluator, task.class_names, arrays, seconds_of(folder), run.config))

    def measure(self, name: str, per_class: int, variant: Variant, trial: bool) -> dict[str, Any]:
        """The numbers of a way, and the score of a trial."""
        options, few = self.options, 10 * self.options.ablation_per_class
        if trial:
            folder = options.folder / f"tune/{slug(name)}-{'-'.join(map(str, strengths(variant)))}"
            numbers = self.numbers(folder, variant, 1, options.trial_per_class)
            accuracy, distance = numbers["evaluator_accuracy"], numbers["frechet_distance"]
            score = round(accuracy - 0.25 * math.log2(distance / self.reference), 3)
            return {"setting": variant.setting, "accuracy": accuracy, "distance": distance, "score": score}
        if name in ABLATIONS:
            variant = ablations(self.tuned)[name]
        folder = samples_of(options, name)
        report = {"setting": variant.setting, "numbers": self.numbers(folder, variant, 0, per_class)}
        if name in COMPARED:
            report["first"] = self.numbers(folder, variant, 0, per_class, first=few)
        if name in SHIFTED:
            x = read_folder(folder).read_all()["x"][:few]
            report["by_class"] = by_class(named(self.tasks[None].evaluator, x), self.real)
        return report

    def measure_real(self, n: int, choice: None, trial: bool) -> dict[str, Any]:
        """Real test images on the same scale, at equal n and class balance."""
        evaluator, (images, labels) = self.tasks[None].evaluator, fashion_mnist.load("test")
        chosen = studied.first_of_each_class(labels, n // 10)
        scores = evaluator.score(images[chosen])
        estimates: Any = {
            "evaluator_accuracy": metrics.accuracy(scores.evaluator_logits, labels[chosen]),
            "frechet_distance": metrics.frechet_with_ci(scores.features, evaluator.moments),  # type: ignore[arg-type]
            "high_frequency_ratio": metrics.high_frequency_ratio(images[chosen], evaluator.images),  # type: ignore[arg-type]
        }
        costs = dict.fromkeys(metrics.COSTS.values(), 0)
        return {"setting": "-", "numbers": {"samples": len(chosen), **costs} | studied.flat(**estimates)}

    def measure_guides(self, choice: None, trial: bool) -> dict[str, Any]:
        """How the guides read estimates."""
        return {"rows": guides.rows(self.tasks[None].model, self.guides, load("fashion-mnist-noisy"))}
