"""`tfg-jax sample`: images of the requested classes from an unconditional model and a classifier, with a report."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfg_jax.cli.main import FAILED_SAMPLES, OK, SCORING_FAILED
from tfg_jax.cli.methods import SETTINGS, MethodName, build
from tfg_jax.cli.options import RunOptions, as_json

Structure = Literal["increase", "decrease", "constant"]


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Sample what a classifier asks for, from a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png, metrics.json and report.html.
    """

    method: MethodName = "tfg"
    """How classes are asked for; its settings below default to tuned values."""
    rho: float | None = None
    """tfg: variance guidance, >= 0; 0 leaves it out."""
    mu: float | None = None
    """tfg: mean guidance, >= 0; 0 leaves it out."""
    smoothing: float | None = None
    """tfg: Monte Carlo smoothing radius, >= 0; 0 leaves it out."""
    strength: float | None = None
    """Step size of every other method, >= 0."""
    n_iter: int | None = None
    """tfg, ugd: iterations at the clean estimate."""
    n_recur: int | None = None
    """tfg, freedom, ugd: recurrences of each step."""
    n_mc: int | None = None
    """tfg, lgd: Monte Carlo draws."""
    rho_structure: Structure | None = None
    """tfg: how rho is spread over the steps."""
    mu_structure: Structure | None = None
    """tfg: how mu is spread over the steps."""
    smoothing_structure: Literal["decrease", "constant"] | None = None
    """tfg: how smoothing is spread over the steps."""
    structure: Structure | None = None
    """freedom: how the strength is spread over the steps."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/sample")
    """Folder of the results."""


def run(options: Options) -> int:
    """Sample, score and report."""
    method = build(options.method, {name: getattr(options, name) for name in SETTINGS})

    from tfg_jax.cli import runs, scoring, setup
    from tfg_jax.shards import open_folder

    task = setup.load_task(options, noisy=setup.needs_noisy_guide(method))
    targets = setup.targets_of(options, task.class_names)
    if options.dry_run:
        print(runs.describe(task, {options.method: method}, len(targets), options.chunk))
        return OK
    notes = setup.dependence_notes(task.guide, task.judge.evaluator)
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    config = setup.sample_config(options, task, method, targets)
    with open_folder(options.out, config, len(targets), options.chunk, options.overwrite) as folder:
        scoring.write_config(options.out, "sample", as_json(options), config)
        runs.fill(folder, task, method, targets, options.method)
        arrays = folder.read_all()
        seconds = sum(runs.read_seconds(options.out).values())
        try:
            scored = scoring.label_run(task.judge, task.class_names, arrays, seconds, config, notes)
            scoring.write_label_report(options.out, scored, f"Label guidance by {options.method}")
        except Exception as error:  # whatever goes wrong here, the samples are safe and the user must hear of them
            again = f"tfg-jax evaluate {options.out}"
            print(f"tfg-jax sample: the samples are complete in {options.out}, but scoring failed "
                  f"({type(error).__name__}: {error}); try `{again}`", file=sys.stderr)  # fmt: skip
            return SCORING_FAILED
    failed = int((arrays["status_code"] != 0).sum())
    if failed:
        print(
            f"tfg-jax sample: {failed} of {len(targets)} samples failed; the report shows them first", file=sys.stderr
        )
    return FAILED_SAMPLES if failed else OK
