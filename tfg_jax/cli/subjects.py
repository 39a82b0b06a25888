"""What `tfg-jax sample` needs of the task that is named: its own options, the task they make, and how many samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfg_jax.cli import methods
from tfg_jax.cli.groups import LabelOptions, MoleculeOptions, NumberOptions
from tfg_jax.cli.labels import (
    label_defaults,
    label_run_task,
    label_size,
    network,
    own_objective,
    own_run_task,
)  # fmt: skip
from tfg_jax.cli.options import Part, check_sizes
from tfg_jax.cli.samplers import sampler_of
from tfg_jax.tasks.dataset import DataSet, MoleculeSet
from tfg_jax.tasks.find import find_task


@dataclasses.dataclass(frozen=True)
class OwnSubject:
    """A task of the user's, which says everything but the numbers.

    Attributes:
        source: what ``--task`` names: here a `Task`.
        title: of the page.
    """

    source: Any
    title: str
    unguided: Sequence[str] = ("none",)
    objective = "given"  # the task's field that --objective takes the place of

    @property
    def presets(self) -> Mapping[str, Any]:
        """Tuned methods by name."""
        return self.source.presets

    @property
    def default(self) -> str:
        """The method where none is named."""
        return "tfg" if "tfg" in self.presets or not self.presets else next(iter(self.presets))

    @property
    def sampler(self) -> Any:
        """Kept where none is named; None is the command's."""
        return self.source.sampler

    @property
    def part(self) -> Part:
        """Options of its own."""
        return Part(NumberOptions)

    @property
    def common(self) -> dict[str, Any]:
        """Defaults of the options that every sampling command takes."""
        return {"model": "", "clip": self.source.clip is not None}

    def task(self, options: Any, choice: methods.Choice, sampler: Any) -> Any:
        """The task that the options make."""
        return own_run_task(self.source, options, sampler)

    def size(self, task: Any, options: Any) -> int:
        """Samples of the run."""
        return options.num_samples

    def again(self, out: Path) -> str:
        """How samples are scored that could not be."""
        return "the same command tries again"

    def aim(self, options: Any) -> tuple[str, ...]:
        """The metric that a search aims at where none is named."""
        return ("objective",)

    def chooser(self, task: Any, reported: int) -> Any:
        """The task on which a search chooses that reports this many samples of it."""
        return task


class LabelSubject(OwnSubject):
    """A data set of images, asked for its classes."""

    objective = "own_objective"

    @property
    def sampler(self) -> Any:
        return None

    @property
    def presets(self) -> Mapping[str, Any]:
        return self.source.LABEL_PRESETS

    @property
    def part(self) -> Part:
        return Part(LabelOptions, label_defaults(self.source))

    @property
    def common(self) -> dict[str, Any]:
        return {"model": self.source.networks["model"]}

    def task(self, options: Any, choice: methods.Choice, sampler: Any) -> Any:
        return label_run_task(self.source, options, [choice], sampler)

    def size(self, task: Any, options: Any) -> int:
        return label_size(task, options)

    def again(self, out: Path) -> str:
        return f"try `tfg-jax evaluate {out}`"

    def aim(self, options: Any) -> tuple[str, ...]:
        return ("evaluator_accuracy",)


class MoleculeSubject(OwnSubject):
    """A data set of molecules, asked for their properties."""

    @property
    def sampler(self) -> Any:
        return None

    @property
    def presets(self) -> Mapping[str, Any]:
        return self.source.MOLECULE_PRESETS

    @property
    def part(self) -> Part:
        return Part(MoleculeOptions, {"property": (self.source.request,), **label_defaults(self.source)})

    @property
    def common(self) -> dict[str, Any]:
        return {"model": self.source.networks["model"], "clip": False, "chunk": 8}  # small arrays stay in a CPU's cache

    def task(self, options: Any, choice: methods.Choice, sampler: Any) -> Any:
        from tfg_jax.denoiser import Denoiser
        from tfg_jax.models.egnn.convert import PropertyPredictor

        check_sizes(options, "num_samples")
        if options.clip:
            raise ValueError("--clip has no effect on molecules, whose positions have no range; drop it")
        if options.objective is not None:
            raise ValueError(
                "--objective has no effect on molecules, asked for their properties; make a task of your own"
            )
        kinds = {"model": Denoiser, "guide": PropertyPredictor, "evaluator": PropertyPredictor}
        networks = {role: network(role, getattr(options, role), kind) for role, kind in kinds.items()}
        task = self.source.load_molecule_task(
            options.property, options.target, **networks, atoms=options.atoms, by_size=options.by_size,
            quantum=options.xtb,
        )  # fmt: skip
        return dataclasses.replace(task, sampler=sampler)

    def aim(self, options: Any) -> tuple[str, ...]:
        return (f"error_{options.property[0]}", "molecule_stability")

    def chooser(self, task: Any, reported: int) -> Any:
        """Of the requests that are not reported, if there are that many."""
        import numpy as np

        return dataclasses.replace(task, requested=np.roll(task.requested, -reported, axis=0))


def subject_of(text: str) -> OwnSubject:
    """Of what ``--task`` names. Raises ValueError as `find_task`."""
    source = find_task(text)
    if isinstance(source, MoleculeSet):
        return MoleculeSubject(source, "Molecules")
    if isinstance(source, DataSet):
        return LabelSubject(source, "Label guidance", methods.UNGUIDED)
    return OwnSubject(source, Path(text).stem)


def run_of(options: Any) -> Any:
    """The run that the options of `tfg-jax sample` ask for. Raises ValueError for one that cannot be meant."""
    subject = subject_of(options.task)
    choice = methods.named(options.guidance, subject.presets, subject.unguided)
    method = methods.build(choice, options)
    changes = {"lookahead": methods.look_ahead(choice, options), "window": methods.window_of(options)}
    sampler = sampler_of(options, subject.sampler)

    from tfg_jax.runs.run import Run

    task = subject.task(options, choice, sampler)
    if options.objective is not None:
        changes[subject.objective] = own_objective(options.objective)
    task = dataclasses.replace(task, **{name: value for name, value in changes.items() if value is not None})
    own = {"conditional": choice.conditional, "name": choice.name}
    return Run(task, method, subject.size(task, options), options.seed, options.chunk, **own)
