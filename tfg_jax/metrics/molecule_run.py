"""The numbers of a run of property-guided molecules, computed from plain arrays: they know nothing of the sampler."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import mean_ci
from tfg_jax.metrics.molecules import Stability, Validity, smiles, stability, validity
from tfg_jax.metrics.sampled_run import SampledRun
from tfg_jax.metrics.titles import flat_estimate
from tfg_jax.rows import AnyArray, Rows, as_rows


@dataclass(frozen=True, kw_only=True)
class MoleculeRun(SampledRun):
    """What a run of property guidance produced: n molecules, each asked for P properties.

    Attributes:
        x: (n, atoms, 3) positions in Angstrom, 0 where there is no atom; the rest as of every `SampledRun`.
        types: (n, atoms) index of H, C, N, O, F; negative where there is no atom.
        targets: (n, P) what was asked for. predicted: (n, P) what a network says that did not guide.
        properties: names of the P properties. units: theirs.
        guide: (n, P) what the guiding network says; None leaves it out.
        quantum: (n, P) what a quantum-chemical program says, NaN where it failed or knows no such property; None if it
            was not asked. quantum_failed: molecules that it could not do.
        known: SMILES of the training set; None leaves novelty out.
        objective: (n, steps) the objective on the way.
    """

    types: Int[AnyArray, "n atoms"]
    targets: Float[AnyArray, "n p"]
    predicted: Float[AnyArray, "n p"]
    properties: Sequence[str]
    units: Sequence[str]
    guide: Float[AnyArray, "n p"] | None = None
    quantum: Float[AnyArray, "n p"] | None = None
    quantum_failed: int = 0
    known: Collection[str] | None = None
    objective: Float[AnyArray, "n steps"] | None = None

    noun = "molecules"

    def __post_init__(self) -> None:
        n, count = len(self.x), len(self.properties)
        for name in ("targets", "predicted", "guide", "quantum"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != (n, count):
                raise ValueError(
                    f"{name} has shape {np.shape(value)}; one number a sample and property is {(n, count)}"
                )

    def scored(self) -> list[AnyArray]:
        """Positions and predictions."""
        return [self.x, self.predicted]

    @cached_property
    def stability(self) -> Stability:
        """By EDM's table of bonds; molecules that failed are not stable."""
        return stability(self._finished(), as_rows(self.types))

    @cached_property
    def smiles(self) -> list[str | None] | None:
        """Of every molecule, None where it is not valid; None altogether without rdkit."""
        try:
            return smiles(self._finished(), as_rows(self.types))
        except ImportError:
            return None

    def _finished(self) -> np.ndarray | Rows:
        """Positions, NaN throughout molecules that failed, whose last state before may well be finite."""
        kept, x = self.ok()[:, None, None], as_rows(self.x)
        return (
            x.map(lambda part, where: np.where(kept[where], part, np.nan))
            if isinstance(x, Rows)
            else np.where(kept, x, np.nan)
        )

    @property
    def validity(self) -> Validity | None:
        """Of all molecules; None without rdkit."""
        return None if self.smiles is None else validity(self.smiles, self.known or ())


def by_sample(run: MoleculeRun) -> dict[str, np.ndarray]:
    """Numbers of every sample (n,) by name, NaN where there is none: what was requested of each property and what was
    reached, by each judge, with its error."""
    ok, targets = run.ok(), np.asarray(run.targets, np.float64)
    judges = {"reached": run.predicted, "guide": run.guide, "quantum": run.quantum}
    values = {}
    for i, name in enumerate(run.properties):
        values[f"requested_{name}"] = targets[:, i]
        for judge, predicted in judges.items():
            if predicted is not None:
                reached = np.where(ok, np.asarray(predicted, np.float64)[:, i], np.nan)
                error = "error" if judge == "reached" else f"{judge}_error"
                values |= {f"{judge}_{name}": reached, f"{error}_{name}": np.abs(reached - targets[:, i])}
    stable = run.stability
    values |= {"stable": stable.stable.astype(float), "stable_atoms": stable.stable_atoms / np.maximum(stable.atoms, 1)}
    if run.smiles is not None:
        values["valid"] = np.array([text is not None for text in run.smiles], float)
    return values


@public
def molecule_metrics(run: MoleculeRun) -> dict[str, Any]:
    """All numbers of a run under plain names, with 95 % intervals.

    Errors are means over the molecules that stayed finite, stable or not; stability and validity are over all attempts,
    in which a molecule that failed is neither.
    """
    run.check(types=run.types, objective=run.objective)
    numbers = run.numbers()
    for name, value in by_sample(run).items():
        if "error" in name and np.isfinite(value).any():
            mean = mean_ci(value[np.isfinite(value)])
            numbers |= flat_estimate(name, replace(mean, low=max(mean.low, 0.0)))  # no error is below 0
    numbers |= flat_estimate("atom_stability", run.stability.atom_stability)
    numbers |= flat_estimate("molecule_stability", run.stability.molecule_stability)
    if run.validity is not None:
        numbers |= flat_estimate("validity", run.validity.valid) | flat_estimate("uniqueness", run.validity.unique)
        if run.known is not None:
            numbers |= flat_estimate("novelty", run.validity.novel)
    if run.quantum is not None:
        numbers["quantum_failed"] = run.quantum_failed
    seconds = float(run.seconds)
    return numbers | run.price() | {"molecules_per_second": len(run.x) / seconds if seconds > 0 else None}
