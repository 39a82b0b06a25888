"""Rare combinations: two properties that hardly occur together, asked for together.

A region is a tenth of a per cent of QM9, cut out by quantiles of its properties; the values asked for lie inside it.
What counts is the share of hits over the base rate, the share of QM9's own molecules in the region.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from qm9 import rows
from qm9.measure import Molecules, row_of
from qm9.rows import Setting
from tfg_jax import DDIM
from tfg_jax.data import qm9
from tfg_jax.metrics import wilson
from tfg_jax.metrics.molecule_run import MoleculeRun
from tfg_jax.metrics.titles import flat_estimate
from tfg_jax.runs.study import Row
from tfg_jax.tasks.qm9.targets import columns, joint, requests

REGIONS: Mapping[str, Mapping[str, float]] = {
    "high mu, high gap": {"mu": 0.9, "gap": 0.9},
    "high alpha, low gap": {"alpha": 0.95, "gap": 0.05},
}
"""Property -> quantile that is the region's edge: from there up if it is above one half, from there down if below."""
SETTINGS = ("greedy", "TFG", "two-step Euler", "horizon 0.5", "horizon 0.9")


def rows_of(molecules: Molecules) -> list[Row]:
    """QM9 itself, the generator told the atom counts alone, and guidance at equal evaluations."""
    options, listed = molecules.options, []
    unguided = Setting("unguided", f"{options.steps} steps", (None,), DDIM(options.steps))
    settings = rows.equal_evaluations(options.budget)
    for name, region in REGIONS.items():
        labels = {"table": "rare", "property": name, "row": "QM9"}
        config = {"region": dict(region), "edges": edges(region)}
        listed.append(Row(f"rare/{name}/QM9", "rare", config, partial(measure_data, molecules, region), labels=labels))
        measure = partial(measure_row, molecules)
        for setting in (unguided, *(settings[key] for key in SETTINGS)):
            listed.append(row_of(molecules, "rare", name, setting, options.rare_samples, measure, config))
    return listed


def edges(region: Mapping[str, float], inside: bool = False) -> list[float]:
    """Where the region begins, by property in its unit; inside: the values in it that are asked for, at quantiles half
    as far from the end."""
    quantiles = [q + inside * ((q > 0.5) - q) / 2 for q in region.values()]
    data = joint()[:, [1 + column for column in columns(list(region))]]
    return [float(np.quantile(data[:, i], q)) for i, q in enumerate(quantiles)]


def in_region(values: np.ndarray, region: Mapping[str, float]) -> np.ndarray:
    """Which of (n, properties) lie in it; what is not finite does not."""
    sides = np.where(np.array(list(region.values())) > 0.5, 1.0, -1.0)
    return np.asarray((sides * (values - np.array(edges(region))) >= 0).all(1))


def measure_row(
    molecules: Molecules, part: str, name: str, setting: Setting, samples: int, method: Any, trial: bool
) -> dict[str, Any]:
    """As any row, with the share of hits among all attempts by each judge, and of those that are stable besides."""
    region = REGIONS[name]
    task = molecules.task(tuple(region), setting, trial, tuple(edges(region, inside=True)))
    count = molecules.options.count(part, samples, trial)
    result, run, quantum = molecules.result(task, f"{part}/{name}/{setting.name}", count, method, trial)
    numbers = dict(result["numbers"]) | hits(run, region)
    if quantum is not None:
        found = in_region(quantum.values, region)
        numbers |= flat_estimate("quantum_hits", wilson(int(found.sum()), len(found)))
    return result | {"numbers": numbers}


def hits(run: MoleculeRun, region: Mapping[str, float]) -> dict[str, Any]:
    """Shares by the evaluator; a sample that failed is no hit."""
    found = in_region(np.asarray(run.predicted), region) & run.ok()
    numbers = {"hits": found, "stable_hits": found & run.stability.stable}
    return {
        key: number
        for name, each in numbers.items()
        for key, number in flat_estimate(name, wilson(int(each.sum()), len(each))).items()
    }


def measure_data(molecules: Molecules, region: Mapping[str, float], choice: None, trial: bool) -> dict[str, Any]:
    """The base rate, and that of QM9's molecules of the sizes that are asked for, by their own properties."""
    data = qm9.load(molecules.options.data)
    found = in_region(qm9.property_table(data)[:, columns(list(region))], region)
    sizes = requests(list(region), edges(region, inside=True))[:, 0].astype(int)
    share = {n: found[data.counts == n].mean() for n in set(sizes.tolist())}
    numbers = {"samples": len(found), **flat_estimate("hits", wilson(int(found.sum()), len(found)))}
    return {"setting": "-", "numbers": numbers | {"of_same_sizes": float(np.mean([share[n] for n in sizes]))}}
