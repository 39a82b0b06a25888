"""Molecules of wanted properties: a generator that never saw them is guided by a network that predicts them.

Sample i of a run is asked for request i modulo their number: an atom count, which the generator is given, and one value
for each property, which guidance is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tfg_jax import struct
from tfg_jax.checks import check_count, is_concrete
from tfg_jax.denoiser import Denoiser
from tfg_jax.domains.molecules import molecules
from tfg_jax.kinds import public
from tfg_jax.metrics.molecule_run import MoleculeRun, by_sample, molecule_metrics
from tfg_jax.models.egnn.convert import PropertyPredictor
from tfg_jax.objectives.inverse import gaussian_log_likelihood
from tfg_jax.result import Samples
from tfg_jax.rows import AnyArray, Arrays, Rows, as_rows, blocks
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.base import Evaluation, Method, Task
from tfg_jax.tasks.qm9.presets import MOLECULE_PRESETS
from tfg_jax.tasks.qm9.targets import requests, warnings_of
from tfg_jax.tasks.scoring import load_as

SIZES = (15, 17, 19, 21, 23)
"""Rows that a batch of molecules is padded to, the least that fits, or the model's own: a program is compiled for each.
"""
COLUMNS = 9
"""Of a molecule: three of its positions, five of its elements, one of its atomic numbers."""


@struct.dataclass
class Properties:
    """Some properties of a predictor, in the scale of its data: what guidance measures of a clean molecule.

    Attributes:
        predictor: ``(x, cond) -> (properties,)``.
        columns: (p,) which of them; traced, so that every property runs by the same program.
    """

    predictor: PropertyPredictor
    columns: Int[AnyArray, " p"]

    def __call__(self, x0: Float[Array, "n c"], cond: Any) -> Float[Array, " p"]:
        """x0: one molecule. cond: its atom count."""
        return self.scaled(self.predictor(x0, cond)[self.columns])

    def scaled(self, values: Any) -> Any:
        """Values (..., p) in the predictor's units as `__call__` gives them."""
        return (values - self.predictor.mean[self.columns]) / self.predictor.scale[self.columns]


@struct.dataclass
class MoleculeTask(Task):
    """Everything of a run of property guidance but the method, the seed and the number of samples.

    Attributes:
        model: the generator, whose condition is the atom count.
        guide: predictor of properties that guides.
        evaluator: predictor that scores, which should not be the guide; None lets the guide score, with a warning.
        properties: names of what is asked for.
        requested: (m, 1 + properties) the requests, as `requests` gives them.
        sampler, clip, lookahead, window: as in `tfg_jax.sample`.
        by_size: sort the requests of a run by atom count, so that a batch is padded to few rows: half the work, but the
            requests of a longer run are then others.
        quantum: judges positions and types, `(positions, types, properties) -> (values, failures)`; None is not asked.
        known: SMILES of the training set, for novelty; None leaves it out.
        warnings: for the reader.
        tuned: tuned methods by name.
    """

    model: Denoiser
    guide: PropertyPredictor
    evaluator: PropertyPredictor | None
    properties: tuple[str, ...] = struct.field(pytree_node=False)
    requested: Any
    sampler: Any = DDIM(steps=100)
    clip: Any = None
    lookahead: Any = None
    window: Any = None
    by_size: bool = struct.field(pytree_node=False, default=False)
    quantum: Any = struct.field(pytree_node=False, default=None)
    known: Any = struct.field(pytree_node=False, default=None)
    warnings: tuple[str, ...] = struct.field(pytree_node=False, default=())
    tuned: Mapping[str, Any] = struct.field(default_factory=dict)

    @property
    def presets(self) -> Mapping[str, Any]:
        """Tuned methods by name."""
        return self.tuned

    def targets(self, n: int) -> np.ndarray:
        """Atom counts and wanted values, (n, 1 + properties)."""
        check_count("num_samples", n)
        rows = np.asarray(self.requested)[np.arange(n) % len(self.requested)]
        return rows[np.argsort(rows[:, 0], kind="stable")] if self.by_size else rows

    def objective(self, method: Method) -> Any:
        """``-||(wanted - predicted) / scale||^2 / 2``, with the data's mean absolute deviation as the scale."""
        return gaussian_log_likelihood(Properties(self.guide, jnp.asarray(_columns(self.guide, self.properties))), 1.0)

    def asked(self, objective: Any, targets: Array, conditional: bool) -> tuple[Array, Array]:
        """The scaled values, and the atom counts as the condition; one that is no whole number from 1 is made -1, which
        no model takes. ValueError for conditional=True, and for rows of another width."""
        if conditional:
            raise ValueError(
                "conditional=True has no effect on a model of molecules, which is given no property; drop it"
            )
        width = 1 + len(self.properties)
        if targets.ndim != 2 or not len(targets) or targets.shape[1] != width:
            raise ValueError(
                f"targets has shape {targets.shape}; give rows of an atom count and {', '.join(self.properties)}, "
                f"(n, {width}) with n >= 1"
            )
        counts = targets[:, 0]
        whole = (counts >= 1) & (counts == jnp.floor(counts))
        return objective.operator.scaled(targets[:, 1:]), jnp.where(whole, counts, -1).astype(jnp.int32)

    def reached(self, objective: Any, x: Array, target: Array, cond: Any) -> Array:
        """The objective of a result."""
        return objective(x, target, cond=cond)

    def bare(self) -> MoleculeTask:
        """The task without what only scores."""
        return dataclasses.replace(self, evaluator=None, quantum=None, known=None, requested=None, tuned={})

    def scored_by(self, metric: str) -> Any:
        """The evaluator of its errors, the guide of its own; bonds and quantum chemistry of all else."""
        if metric.startswith("guide_error_"):
            return self.guide
        return self.evaluator or self.guide if metric.startswith("error_") else None

    def notes(self) -> list[str]:
        """Warnings about requests and networks."""
        same = (self.evaluator or self.guide).name == self.guide.name
        told = [f"evaluator and guide are both {self.guide.name!r}: samples are scored by what guided them"] * same
        unknown = [name for name in self.properties if name not in getattr(self.quantum, "known", self.properties)]
        told += [f"the quantum program gives no {name}: no quantum_error_{name}" for name in unknown]
        return [*self.warnings, *told]

    def sample(
        self, key: PRNGKeyArray, targets: Float[AnyArray, "n columns"], method: Method, *, conditional: bool = False,
        index_offset: int | Array = 0, sharding: NamedSharding | None = None,
    ) -> Samples:  # fmt: skip
        """As `Task.sample`; a batch is computed with the rows that its molecules need, where their counts are known."""
        atoms = self.model.shape[0]
        more: Any = {"conditional": conditional, "index_offset": index_offset, "sharding": sharding}
        if not is_concrete(targets) or np.ndim(targets) != 2 or not len(targets):  # `asked` refuses other shapes
            return Task.sample(self, key, targets, method, **more)
        counts = np.asarray(targets)[:, 0]
        check_atoms(counts, atoms)
        most = int(np.max(counts))
        sizes = (*SIZES, atoms) if _draws_by_row(method) else (atoms,)
        rows = min((size for size in sizes if size >= most), default=atoms)
        task = dataclasses.replace(self, model=resized(self.model, min(rows, atoms)))
        out = Task.sample(task, key, targets, method, **more)
        wide = jnp.pad(out.x, ((0, 0), (0, atoms - out.x.shape[1]), (0, 0)))
        return Samples(wide, out.status, out.cost, out.info)

    def evaluate(self, samples: Arrays, *, seconds: float = 0.0, config: Mapping[str, Any] | None = None) -> Evaluation:
        """As `Task.evaluate`: errors of every property, stability, validity, and what the quantum program says."""
        run = self.run_of(samples, seconds, config)
        return Evaluation(by_sample(run), lambda: molecule_metrics(run), run)

    def run_of(self, samples: Arrays, seconds: float = 0.0, config: Mapping[str, Any] | None = None) -> MoleculeRun:
        """Stored arrays with what the networks, and the quantum program if there is one, say of them."""
        x, target = as_rows(samples["x"]), np.asarray(samples["target"])
        counts = target[:, 0].astype(np.int32)
        pick = lambda which: lambda part, where: split(part, counts[where])[which]  # noqa: E731
        positions, types = (x.map(pick(0)), x.map(pick(1))) if isinstance(x, Rows) else split(x, counts)
        quantum, failures = None, 0
        if self.quantum is not None:
            judged = [self.quantum(positions[part], types[part], self.properties) for part in blocks(x)]
            quantum, failures = np.concatenate([each for each, _ in judged]), sum(failed for _, failed in judged)
        judge = self.evaluator or self.guide
        return MoleculeRun.of_stored(
            {**samples, "x": positions}, types=types, targets=target[:, 1:], properties=self.properties,
            units=tuple(units(self.properties)), predicted=predict(judge, x, counts, self.properties),
            guide=predict(self.guide, x, counts, self.properties), quantum=quantum, quantum_failed=failures,
            seconds=seconds, objective=samples["objective"] if samples["objective"].shape[1] > 1 else None,
            known=self.known, config=config or {}, notes=self.notes(),
        )  # fmt: skip


@public
def load_molecule_task(
    properties: Sequence[str] = ("alpha",),
    target: Sequence[float] = (),
    *,
    model: Any = "qm9",
    guide: Any = "qm9-guide",
    evaluator: Any = "qm9-evaluator",
    atoms: int | None = None,
    start: int = 0,
    steps: int = 50,
    by_size: bool = False,
    quantum: bool = False,
) -> MoleculeTask:
    """Molecules of QM9 with wanted properties, with the shipped networks or ones of your own.

    Args:
        properties: names of what is asked for: mu, alpha, homo, lumo, gap, cv.
        target: wanted value of each, in the units of `tfg_jax.data.qm9.PROPERTIES`; () are those of molecules of the
            data, with their atom counts.
        model, guide, evaluator: released names, folders of weights, or networks. The model gives arrays (atoms, 9):
            positions, five elements, atomic number. evaluator=None lets the guide score, with a warning.
        atoms: of every molecule, 1 to the model's most; None as they occur in the data, with the wanted values.
        start: the request that comes first, >= 0.
        steps: DDIM steps, >= 1.
        by_size: sort requests by atom count, see `MoleculeTask`.
        quantum: also judge by the program `xtb`, which must be installed.
    Raises:
        FileNotFoundError: no such weights, or no program.
        ValueError: unknown properties, values that are not one a property, atom counts that the model cannot make, or
            weights of another kind.
    """
    from tfg_jax.metrics.xtb import XTB, find

    properties, target = tuple(properties), tuple(map(float, target))
    if quantum:
        find("xtb")
    asked = requests(properties, target, start=start, atoms=atoms)
    generator, guiding = load_as(model, Denoiser), load_as(guide, PropertyPredictor)
    scoring = None if evaluator is None else load_as(evaluator, PropertyPredictor)
    if not isinstance(generator.shape, tuple) or generator.shape[1:] != (COLUMNS,):
        raise ValueError(
            f"model gives samples of shape {generator.shape}, not molecules of shape (atoms, {COLUMNS}); give another"
        )
    check_atoms(asked[:, 0], generator.shape[0])
    for network in (guiding, scoring or guiding):
        _columns(network, properties)
    return MoleculeTask(
        generator, guiding, scoring, properties, asked, sampler=DDIM(steps), by_size=by_size,
        quantum=XTB() if quantum else None, tuned=dict(MOLECULE_PRESETS),
        warnings=tuple(warnings_of(properties, target, asked[:, 0])),
    )  # fmt: skip


def check_atoms(counts: np.ndarray, most: int) -> None:
    """Raise ValueError unless a model of molecules of at most so many atoms can make these."""
    if (wrong := counts[~((counts >= 1) & (counts <= most) & (counts == np.floor(counts)))]).size:
        raise ValueError(
            f"atoms={wrong[0]:g} is asked for, the model makes molecules of 1 to {most}; give one of these, or another"
        )


def _draws_by_row(method: Method) -> bool:
    """Whether fewer rows are drawn as the first of more: not where one draw holds several molecules, or keys of old."""
    whole = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    return bool(whole) and (getattr(method, "n_mc", None) or 1) == 1


def resized(model: Denoiser, rows: int) -> Denoiser:
    """The same model of molecules with arrays of ``rows`` atoms: the same samples of smaller ones, at less cost."""
    columns = model.shape[1]
    return model.replace(shape=(rows, columns), domain=molecules(rows, columns - 3))  # type: ignore[attr-defined]


def split(x: Float[np.ndarray, "n atoms c"], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in Angstrom (n, atoms, 3) and elements (n, atoms), -1 where there is no atom, of sampled molecules."""
    present = np.arange(x.shape[1]) < np.asarray(counts)[:, None]
    return np.where(present[..., None], x[..., :3], 0.0), np.where(present, x[..., 3:8].argmax(-1), -1)


def predict(
    predictor: PropertyPredictor, x: AnyArray, counts: AnyArray, properties: Sequence[str], batch: int = 64
) -> Float[np.ndarray, "n p"]:
    """Properties of molecules in their units, elements taken as they are read off: what is judged is the molecule."""
    x, counts, predicted = as_rows(x), np.asarray(counts, np.int32), []
    for start in range(0, len(x), batch):
        some, sizes = x[start : start + batch], counts[start : start + batch]
        padded = batch - len(some)
        some, sizes = np.concatenate([some, some[:1].repeat(padded, 0)]), np.append(sizes, sizes[:1].repeat(padded))
        clean = np.concatenate([some[..., :3], _one_hot(some, sizes)], -1)
        predicted.append(np.asarray(_predicted(predictor, clean, sizes))[: batch - padded])
    return np.concatenate(predicted)[:, _columns(predictor, properties)]


@jax.jit
def _predicted(predictor: PropertyPredictor, x: Array, counts: Array) -> Array:
    return jax.vmap(predictor)(x, counts)


def _one_hot(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    from tfg_jax.training.molecules import features_of

    return np.asarray(features_of(split(x, counts)[1]))


def _columns(predictor: PropertyPredictor, properties: Sequence[str]) -> list[int]:
    if unknown := [name for name in properties if name not in predictor.names]:
        raise ValueError(
            f"property={unknown[0]!r} is unknown to {predictor.name!r}; choose of {', '.join(predictor.names)}"
        )
    return [predictor.names.index(name) for name in properties]


def units(properties: Sequence[str]) -> list[str]:
    """Of properties of QM9."""
    from tfg_jax.data.qm9 import PROPERTIES

    return [PROPERTIES[name][2] if name in PROPERTIES else "" for name in properties]
