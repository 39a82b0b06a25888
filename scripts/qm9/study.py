"""The rows of the study of molecules: the generator, the ladder, then the cheapest table first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from qm9 import diagnosis, rare, rows
from qm9.measure import Molecules, Options, row_of
from qm9.rows import Setting
from tfg_jax.runs.study import Row, Study

__all__ = ["Options", "study_of"]

SEVERAL = ("alpha gap",)
"""Properties that are asked for together."""


def study_of(options: Options) -> Study:
    """All rows: the generator, the ladder, then the cheapest table first, one property after the other."""
    molecules = Molecules(options)
    listed = [Row("generator", "generator", {"samples": options.model_samples, "steps": options.model_steps},
                  molecules.measure_generator, samples=options.model_samples, evaluations=options.model_steps,
                  seconds=options.model_samples * options.model_steps / options.rate,
                  labels={"table": "generator", "property": "-", "row": "generator"},
                  inputs=lambda: molecules.hashes)]  # fmt: skip
    listed += [ladder_of(molecules, name) for name in options.properties]
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
    return Study(options.folder, [*listed, *rare.rows_of(molecules), *diagnosis.rows_of(molecules)])


def ladder_of(molecules: Molecules, name: str) -> Row:
    """What errors of a property mean."""
    options = molecules.options
    config = {"property": name, "samples": options.samples, "steps": options.steps, "quantum": options.quantum_samples}
    return Row(
        f"ladder {name}", "ladder", config, partial(molecules.measure_ladder, name), samples=options.samples,
        evaluations=options.steps, seconds=options.samples * options.steps / options.rate,
        labels={"table": "ladder", "property": name, "row": "unguided"}, inputs=lambda: molecules.hashes,
    )  # fmt: skip
