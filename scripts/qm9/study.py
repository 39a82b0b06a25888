"""The rows of the study of molecules: how each is measured, and what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import studied

from qm9 import rows
from qm9.rows import Setting
from tfg_jax import load
from tfg_jax.data import qm9
from tfg_jax.files import slug
from tfg_jax.metrics import Estimate
from tfg_jax.metrics.intervals import mean_ci
from tfg_jax.metrics.molecule_run import molecule_metrics
from tfg_jax.metrics.xtb import XTB
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.store import fingerprint
from tfg_jax.runs.study import Row, Study
from tfg_jax.tasks.qm9.targets import columns, joint, requests
from tfg_jax.tasks.qm9.task import MoleculeTask

REPORT, TRIAL = 0, 1
FIRST_TRIAL = 2048
"""Trials ask for other molecules than reports."""
FEWEST_STABLE = 0.8
"""Share of stable atoms below which a trial is marked down: what is reached on debris is not reached."""


@dataclasses.dataclass(frozen=True)
class Options(studied.Options):
    """What is run and where it goes."""

    folder: Path = Path("runs/qm9")
    page: Path = Path("docs/results/details/molecules.md")
    properties: tuple[str, ...] = tuple(qm9.PROPERTIES)
    model: str = "qm9"
    guide: str = "qm9-guide"
    evaluator: str = "qm9-evaluator"
    data: Path | None = None  # of QM9, for novelty
    steps: int = 50  # at equal steps
    budget: int = 80  # network evaluations a sample
    samples: int = 512  # a row at equal evaluations
    step_samples: int = 128  # a row at equal steps
    whole_samples: int = 32  # a row of the whole solve
    trial_samples: int = 32
    quantum_samples: int = 200  # judged by xtb
    model_samples: int = 10_000  # of the generator alone
    chunk: int = 8


def study_of(options: Options) -> Study:
    """All rows: the generator, the ladder, then the cheapest table first, one property after the other."""
    molecules = Molecules(options)
    listed = [Row("generator", "generator", {"samples": options.model_samples, "steps": options.steps},
                  molecules.measure_generator, samples=options.model_samples, evaluations=options.steps,
                  inputs=lambda: molecules.hashes)]  # fmt: skip
    listed += [Row(f"ladder {name}", "ladder", {"property": name}, partial(molecules.measure_ladder, name),
                   inputs=lambda: molecules.hashes) for name in options.properties]  # fmt: skip
    parts: dict[str, tuple[Callable[[], Mapping[str, Setting]], int]] = {
        "evaluations": (lambda: rows.equal_evaluations(options.budget), options.samples),
        "steps": (lambda: rows.equal_steps(options.steps), options.step_samples),
        "window": (lambda: rows.windowed(options.budget // 2, rows.GREEDY["TFG"]), options.step_samples),
        "whole": (rows.whole, options.whole_samples),
    }
    for part, (settings, samples) in parts.items():
        for name in options.properties:
            listed += [row_of(molecules, part, name, setting, samples) for setting in settings().values()]
    for name in SEVERAL:
        settings = {key: rows.equal_evaluations(options.budget)[key] for key in ("greedy", "TFG")}
        listed += [row_of(molecules, "several", name, setting, options.samples) for setting in settings.values()]
    return Study(options.folder, listed)


SEVERAL = ("alpha gap",)
"""Properties that are asked for together."""


def row_of(molecules: Molecules, part: str, wanted: str, setting: Setting, samples: int) -> Row:
    """One row of a property."""
    options = molecules.options
    trials = options.trial_samples * len(setting.trials) if len(setting.trials) > 1 else 0
    config = setting.config | {"samples": samples, "trial": options.trial_samples, "quantum": options.quantum_samples}
    return Row(
        f"{part}/{wanted}/{setting.name}", part, config, partial(molecules.measure, part, wanted, setting, samples),
        setting.trials, samples + trials, setting.evaluations,
        setting.evaluations * (samples + trials) / options.rate,
        labels={"table": part, "property": wanted, "row": setting.name}, shown={"what": setting.words},
        inputs=lambda: molecules.hashes,
    )  # fmt: skip


class Molecules:
    """The networks, loaded when the first row is measured, and how rows are measured with them."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @cached_property
    def networks(self) -> dict[str, Any]:
        """By role."""
        options = self.options
        return {role: load(getattr(options, role)) for role in ("model", "guide", "evaluator")}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of the networks."""
        return {role: fingerprint(network.params) for role, network in self.networks.items()}

    def task(self, properties: tuple[str, ...], setting: Setting | None, trial: bool) -> MoleculeTask:
        """The task as a row sees it."""
        asked = requests(properties, start=FIRST_TRIAL if trial else 0)
        task = MoleculeTask(**self.networks, properties=properties, requested=asked)
        if setting is None or setting.sampler is None:
            return task
        return dataclasses.replace(task, sampler=setting.sampler, lookahead=setting.lookahead, window=setting.window)

    def measure(
        self, part: str, wanted: str, setting: Setting, samples: int, method: Any, trial: bool
    ) -> dict[str, Any]:
        """The numbers of a method, and the score of a trial: less error is better, debris is worse."""
        options, properties = self.options, tuple(wanted.split())
        task = self.task(properties, setting, trial)
        n = options.trial_samples if trial else samples
        where = options.folder / ("tune" if trial else "report") / part / slug(wanted) / slug(setting.name)
        folder = where / slug(repr(method))[-80:] if trial else where
        run = Run(task, method, n, TRIAL if trial else REPORT, options.chunk, name=f"{part}/{wanted}/{setting.name}")
        arrays = run.samples(folder, overwrite=not trial)
        numbers = self.numbers(task, arrays, seconds_of(folder), 0 if trial else options.quantum_samples)
        scale = np.asarray(self.networks["evaluator"].scale)[columns(properties)]
        error = float(np.mean([numbers[f"error_{name}"] / each for name, each in zip(properties, scale, strict=True)]))
        score = -error - 2.0 * max(0.0, FEWEST_STABLE - numbers["atom_stability"])
        return {"setting": repr(method), "score": round(score, 4), "numbers": numbers, "seconds": numbers["seconds"]}

    def numbers(
        self, task: MoleculeTask, arrays: Mapping[str, np.ndarray], seconds: float, judged: int
    ) -> dict[str, Any]:
        """Metrics of samples, the quantum program's over the first so many of them in an order of no meaning."""
        run = task.run_of(arrays, seconds)
        numbers = molecule_metrics(run)
        if judged:
            chosen = np.sort(np.random.default_rng(0).permutation(len(run.x))[:judged])
            values, failed = XTB()(run.x[chosen], run.types[chosen], run.properties)
            error = np.abs(values - np.asarray(run.targets)[chosen])
            numbers |= {"quantum_samples": len(chosen), "quantum_failed": failed}
            for i, name in enumerate(run.properties):
                if np.isfinite(error[:, i]).any():
                    numbers[f"quantum_error_{name}"] = interval(mean_ci(error[np.isfinite(error[:, i]), i]))
        return numbers

    def measure_generator(self, choice: None, trial: bool) -> dict[str, Any]:
        """Stability, validity, uniqueness and novelty of unguided molecules."""
        options = self.options
        task = dataclasses.replace(
            self.task(("alpha",), None, False), sampler=rows.DDIM(options.steps), known=self.known
        )
        run = Run(task, None, options.model_samples, REPORT, options.chunk, name="generator")
        folder = options.folder / "report/generator"
        arrays = run.samples(folder, overwrite=True)
        return {"setting": "-", "numbers": self.numbers(task, arrays, seconds_of(folder), 0)}

    @cached_property
    def known(self) -> frozenset[str]:
        """Canonical SMILES of the molecules that the generator learned from."""
        from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]

        RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
        molecules = qm9.load(self.options.data)
        read = (Chem.MolFromSmiles(molecules.smiles[i]) for i in qm9.split()["generator"])
        return frozenset(Chem.MolToSmiles(each) for each in read if each is not None)

    def measure_ladder(self, name: str, choice: None, trial: bool) -> dict[str, Any]:
        """What errors mean: of guessing at random, of knowing the atom count alone, and of the evaluator itself."""
        data = joint()
        counts, values = data[:, 0].astype(int), data[:, 1 + columns([name])[0]]
        mean = np.array([values[counts == n].mean() if (counts == n).any() else 0.0 for n in range(counts.max() + 1)])
        shuffled = np.random.default_rng(0).permutation(values)
        unguided = dataclasses.replace(self.task((name,), None, False), sampler=rows.DDIM(self.options.steps))
        folder = self.options.folder / "report/unguided" / name
        arrays = Run(unguided, None, self.options.samples, REPORT, self.options.chunk, name=f"unguided {name}").samples(
            folder, overwrite=True
        )
        return {
            "setting": "-",
            "random": float(np.abs(shuffled - values).mean()),
            "atoms": float(np.abs(mean[counts] - values).mean()),
            "numbers": self.numbers(unguided, arrays, seconds_of(folder), self.options.quantum_samples),
        }


def interval(estimate: Estimate) -> list[float]:
    """As JSON."""
    return [estimate.value, estimate.low, estimate.high]
