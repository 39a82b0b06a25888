"""How rows of the study of molecules are measured: sampled, then judged by networks and by a quantum program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import studied

from qm9 import rows
from qm9.judged import Quantum, each_of, quantum_numbers
from qm9.rows import Setting
from tfg_jax import load
from tfg_jax.data import qm9
from tfg_jax.files import slug
from tfg_jax.metrics.molecule_run import MoleculeRun, molecule_metrics
from tfg_jax.runs.run import Run, seconds_of
from tfg_jax.runs.store import fingerprint
from tfg_jax.runs.study import Row
from tfg_jax.tasks.qm9.targets import columns, joint, requests
from tfg_jax.tasks.qm9.task import MoleculeTask

REPORT, TRIAL = 0, 1
FIRST_TRIAL = 2048
"""Trials ask for other molecules than reports, but for rare pairs, whose 64 requests come round."""
FEWEST_STABLE = 0.8
"""Share of stable atoms below which a trial is marked down: what is reached on debris is not reached."""
DEAR = ("steps", "whole")
"""Tables whose rows take many evaluations a molecule."""
LOST = 10.0
"""Error, in mean absolute deviations of the data, of a trial whose molecules all failed."""


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
    dear_trial_samples: int = 16  # of rows at equal steps and of the whole solve
    quantum_samples: int = 200  # judged by xtb
    model_samples: int = 10_000  # of the generator alone
    model_steps: int = 100  # of them; published ones take 1,000
    rare_samples: int = 256  # a row of a rare combination
    states: int = 32  # of the diagnosis, at each noise level
    solve_steps: int = 8  # midpoint steps of its solves
    chunk: int = 8

    def count(self, part: str, samples: int, trial: bool) -> int:
        """Molecules of a row of so many, or of one of its trials."""
        return (self.dear_trial_samples if part in DEAR else self.trial_samples) if trial else samples


def row_of(
    molecules: Molecules, part: str, wanted: str, setting: Setting, samples: int,
    measure: Callable[..., Any] | None = None, config: Mapping[str, Any] | None = None,
) -> Row:  # fmt: skip
    """One row of a property, or of several together; ``molecules.measure`` unless told otherwise, and what else it
    depends on."""
    options = molecules.options
    trial_samples = options.count(part, samples, trial=True)
    trials = trial_samples * len(setting.trials) if len(setting.trials) > 1 else 0
    config = setting.config | {
        **(config or {}),
        "samples": samples,
        "trial": trial_samples,
        "quantum": options.quantum_samples,
    }
    return Row(
        f"{part}/{wanted}/{setting.name}", part, config,
        partial(measure or molecules.measure, part, wanted, setting, samples),
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

    def task(
        self, properties: tuple[str, ...], setting: Setting | None, trial: bool, values: tuple[float, ...] = ()
    ) -> MoleculeTask:
        """The task as a row sees it; values are wanted of all molecules, () as they occur in the data."""
        asked = requests(properties, values, start=FIRST_TRIAL if trial else 0)
        # Sorted by size, a batch is padded to few rows: half the work.
        task = MoleculeTask(**self.networks, properties=properties, requested=asked, by_size=True)
        if setting is None or setting.sampler is None:
            return task
        return dataclasses.replace(task, sampler=setting.sampler, lookahead=setting.lookahead, window=setting.window)

    def measure(
        self, part: str, wanted: str, setting: Setting, samples: int, method: Any, trial: bool
    ) -> dict[str, Any]:
        """The numbers of a method, and the score of a trial: less error is better, debris is worse."""
        task = self.task(tuple(wanted.split()), setting, trial)
        count = self.options.count(part, samples, trial)
        return self.result(task, f"{part}/{wanted}/{setting.name}", count, method, trial)[0]

    def result(
        self, task: MoleculeTask, name: str, samples: int, method: Any, trial: bool
    ) -> tuple[dict[str, Any], MoleculeRun, Quantum | None]:
        """As `measure`, with what it rests on."""
        properties = task.properties
        run, seconds = self.samples(task, method, samples, name, TRIAL if trial else REPORT)
        quantum = None if trial else self.quantum(run)
        numbers = molecule_metrics(run) | quantum_numbers(run, quantum)
        scale = np.asarray(self.networks["evaluator"].scale)[columns(properties)]
        errors = [numbers.get(f"error_{each}", LOST * one) / one for each, one in zip(properties, scale, strict=True)]
        score = -float(np.mean(errors)) - 2.0 * max(0.0, FEWEST_STABLE - numbers["atom_stability"])
        result = {"setting": repr(method), "score": round(score, 4), "numbers": numbers, "seconds": seconds}
        return result | ({} if trial else {"each": each_of(run, quantum)}), run, quantum

    def samples(
        self, task: MoleculeTask, method: Any, n: int, name: str, seed: int = REPORT
    ) -> tuple[MoleculeRun, float]:
        """Sampled molecules with what the networks say of them, and the seconds they took. What decides them is in the
        name of their folder, where a stopped run goes on."""
        run = Run(task, method, n, seed, self.options.chunk, name=name)
        folder = self.options.folder / "samples" / slug(name) / run.key[:16]
        arrays = run.samples(folder)
        return task.run_of(arrays, seconds_of(folder)), seconds_of(folder)

    def quantum(self, run: MoleculeRun) -> Quantum | None:
        """What the quantum program says of the first so many molecules in an order of no meaning."""
        return Quantum.of(run, self.options.quantum_samples) if self.options.quantum_samples else None

    def measure_generator(self, choice: None, trial: bool) -> dict[str, Any]:
        """Stability, validity, uniqueness and novelty of unguided molecules."""
        options = self.options
        task = dataclasses.replace(
            self.task(("alpha",), None, False),
            sampler=rows.DDIM(options.model_steps),
            known=self.known,
            by_size=False,  # so that the first so many of a longer run are these
        )
        run, seconds = self.samples(task, None, options.model_samples, "generator")
        return {"setting": "-", "numbers": molecule_metrics(run), "seconds": seconds}

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
        run, seconds = self.samples(unguided, None, self.options.samples, f"unguided {name}")
        quantum = self.quantum(run)
        return {
            "setting": "-",
            "random": float(np.abs(shuffled - values).mean()),
            "atoms": float(np.abs(mean[counts] - values).mean()),
            "numbers": molecule_metrics(run) | quantum_numbers(run, quantum),
            "each": each_of(run, quantum),
            "seconds": seconds,
        }
