"""`tfg-jax sample`: images of the requested classes from an unconditional model and a classifier, with a report."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from tfg_jax.cli.main import OK, SCORING_FAILED
from tfg_jax.cli.methods import SETTINGS, MethodName, build, check_acting, look_ahead
from tfg_jax.cli.options import GuidedOptions, MethodOptions, RunOptions, as_json


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """How, and where to."""

    method: MethodName = "tfg"
    """How classes are asked for. Tuned: classifier strength 1; dps strength 2; lgd strength 2, n_mc 4; freedom strength
    2; mpgd strength 16; ugd strength 2, n_iter 4; tfg rho 1, smoothing 1, n_mc 4."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/sample")
    """Folder of the results."""


@dataclasses.dataclass(frozen=True)
class Options(RequestOptions, MethodOptions, GuidedOptions, RunOptions):
    """Sample what a classifier asks for, from a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png, metrics.json and report.html.
    """


def run(options: Options) -> int:
    """Sample, score and report."""
    method = build(options.method, {name: getattr(options, name, None) for name in SETTINGS})
    lookahead = look_ahead(options.method, options.horizon, options.lookahead_steps, options.solver)
    check_acting(options.method, options.window)

    from tfg_jax.cli import runs, scoring, setup
    from tfg_jax.runs.store import open_folder

    task = setup.load_task(options, [method])
    task = dataclasses.replace(task, lookahead=lookahead, window=options.window)
    targets = setup.targets_of(options, task.class_names)
    if options.dry_run:
        print(runs.describe(task, {options.method: method}, targets, options.chunk))
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
            said = scoring.write_label_report(options.out, scored, f"Label guidance by {options.method}")
        except Exception as error:  # whatever goes wrong here, the samples are safe and the user must hear of them
            again = f"tfg-jax evaluate {options.out}"
            print(f"tfg-jax sample: the samples are complete in {options.out}, but scoring failed "
                  f"({type(error).__name__}: {error}); try `{again}`", file=sys.stderr)  # fmt: skip
            return SCORING_FAILED
    print(said)
    return runs.exit_code("sample", arrays)
