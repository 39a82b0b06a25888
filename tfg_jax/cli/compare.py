"""`tfg-jax compare`: guidance methods side by side, on the same seeds, targets, sampler and clip."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfg_jax.cli.groups import CommonOptions, LabelOptions
from tfg_jax.cli.labels import label_defaults, label_run_task, label_size
from tfg_jax.cli.main import FAILED_SAMPLES, OK
from tfg_jax.cli.options import Part, Typed, data_set
from tfg_jax.cli.samplers import sampler_of, sampler_part
from tfg_jax.tasks.find import DEFAULT

FREE = ("methods", "evaluator", "data", "chunk", "out")  # options that leave what was sampled as it is
LATER = {"task": DEFAULT, "sampler": "ddim"}  # options that folders of earlier versions do not know


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """What is compared, and where to."""

    task: str = DEFAULT
    """The data set."""
    methods: tuple[str, ...] = ("none", "conditional", "dps", "lgd", "freedom", "mpgd", "ugd", "tfg")
    """The methods, in the order of the table: names as in `sample`."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/compare")
    """Folder of the results."""


def parts(typed: Typed) -> list[Part]:
    """The groups of options."""
    subject = data_set(typed)
    networks = [Part(LabelOptions, label_defaults(subject)), sampler_part(typed)]
    return [Part(RequestOptions), *networks, Part(CommonOptions, {"model": subject.networks["model"]})]


def run(options: Any) -> int:
    """Compare guidance methods at their tuned settings: accuracy, Fréchet distance and cost, with 95 % intervals.

    Every method gets a sample folder of its own and the same command resumes; then table.md, compare.json, grid.png and
    report.html.
    """
    from tfg_jax.cli import drive, methods

    if not options.methods or len(set(map(methods.folder_of, options.methods))) < len(options.methods):
        raise ValueError(f"methods={' '.join(options.methods)!r} must name at least one method, each once")

    from tfg_jax.report.comparison import comparison_report
    from tfg_jax.result import finished
    from tfg_jax.runs.run import Run
    from tfg_jax.runs.store import MANIFEST
    from tfg_jax.tasks.find import find_task

    subject = find_task(options.task)
    choices = [methods.named(name, subject.LABEL_PRESETS, methods.UNGUIDED) for name in options.methods]
    task = label_run_task(subject, options, choices, sampler_of(options))
    n, same = label_size(task, options), {"seed": options.seed, "chunk": options.chunk}
    runs = [Run(task, choice.method, n, **same, conditional=choice.conditional, name=choice.name) for choice in choices]
    if options.dry_run:
        print(drive.describe(runs))
        return OK
    if (options.out / MANIFEST).exists():
        raise ValueError(f"out={options.out} is the sample folder of another command; choose another folder")
    scored = {}
    with drive.claimed_output(options, LATER, FREE):  # more methods join those that are there
        for note in (notes := task.notes()):
            print(f"note: {note}", file=sys.stderr)
        configs = {each.name: each.config for each in runs}
        for each in runs:
            with each.open(options.out / methods.folder_of(each.name), overwrite=options.overwrite) as folder:
                drive.write_config(options.out, "compare", options, configs)
                each.compute(folder)
                scored[each.name] = each.evaluate(folder).run
        print(comparison_report(options.out, scored, configs, notes))
    return FAILED_SAMPLES if any(not finished(each.status_code).all() for each in scored.values()) else OK
