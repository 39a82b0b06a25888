"""What a quantum program says of a run of molecules, and errors of every sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfg_jax.metrics import Estimate
from tfg_jax.metrics.intervals import mean_ci
from tfg_jax.metrics.molecule_run import MoleculeRun, by_sample
from tfg_jax.metrics.xtb import XTB


class Quantum(NamedTuple):
    """What the quantum program says: of which molecules of a run, their properties, and how many of them failed."""

    chosen: np.ndarray
    values: np.ndarray
    failed: int

    @classmethod
    def of(cls, run: MoleculeRun, most: int) -> Quantum:
        """Of at most so many molecules, in an order of no meaning; NaN of samples that failed, whose last state before
        may well be a molecule."""
        chosen = np.sort(np.random.default_rng(0).permutation(len(run.x))[:most])
        values, failed = XTB()(np.asarray(run.x)[chosen], np.asarray(run.types)[chosen], run.properties)
        return cls(chosen, np.where(run.ok()[chosen][:, None], values, np.nan), failed)

    def error(self, run: MoleculeRun) -> np.ndarray:
        """Absolute errors (chosen, properties), NaN where there is none."""
        return np.abs(self.values - np.asarray(run.targets)[self.chosen])


def quantum_numbers(run: MoleculeRun, quantum: Quantum | None) -> dict[str, Any]:
    """Its metrics."""
    if quantum is None:
        return {}
    numbers: dict[str, Any] = {"quantum_samples": len(quantum.chosen), "quantum_failed": quantum.failed}
    for name, error in zip(run.properties, quantum.error(run).T, strict=True):
        if np.isfinite(error).any():
            numbers[f"quantum_error_{name}"] = interval(mean_ci(error[np.isfinite(error)]))
    return numbers


def each_of(run: MoleculeRun, quantum: Quantum | None) -> dict[str, list[float | None]]:
    """Errors of every sample, by which rows that asked for the same are compared in pairs; None where it failed or was
    not judged."""
    values = {name: value for name, value in by_sample(run).items() if name.startswith("error_")}
    if quantum is not None:
        for name, error in zip(run.properties, quantum.error(run).T, strict=True):
            values[f"quantum_error_{name}"] = np.full(len(run.x), np.nan)
            values[f"quantum_error_{name}"][quantum.chosen] = error
    return {name: [float(f"{v:.5g}") if np.isfinite(v) else None for v in value] for name, value in values.items()}


def interval(estimate: Estimate) -> list[float]:
    """As JSON."""
    return [estimate.value, estimate.low, estimate.high]
