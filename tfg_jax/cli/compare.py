"""`tfg-jax compare`: guidance methods side by side, on the same seeds, targets, sampler and clip."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tfg_jax.cli.main import FAILED_SAMPLES, OK
from tfg_jax.cli.methods import Method, MethodName, build
from tfg_jax.cli.options import RunOptions, as_json

if TYPE_CHECKING:
    import numpy as np

    from tfg_jax.report import LabelRun
    from tfg_jax.report.images import Pixels
    from tfg_jax.tasks import LabelTask

SHOWN = 10
COLUMNS = (
    "evaluator_accuracy", "unlike_real", "frechet_distance", "high_frequency_ratio", "network_forwards_per_sample",
    "network_pullbacks_per_sample", "objective_gradients_per_sample", "seconds", "failed_samples",
)  # fmt: skip
FREE = ("methods", "evaluator", "data", "chunk", "out")  # options that leave what was sampled as it is


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """What is compared, and where to."""

    methods: tuple[MethodName, ...] = ("none", "conditional", "dps", "lgd", "freedom", "mpgd", "ugd", "tfg")
    """The methods, in the order of the table."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/compare")
    """Folder of the results."""


@dataclasses.dataclass(frozen=True)
class Options(RequestOptions, RunOptions):
    """Compare guidance methods at their tuned settings: accuracy, Fréchet distance and cost, with 95 % intervals.

    Every method gets a sample folder of its own and the same command resumes; then table.md, compare.json, grid.png and
    report.html.
    """


def run(options: Options) -> int:
    """Sample by every method, score and report."""
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise ValueError(f"methods={' '.join(options.methods)!r} must name at least one method, each once")
    methods = {name: build(name, {}) for name in options.methods}

    from tfg_jax.cli import runs, scoring, setup
    from tfg_jax.runs.store import MANIFEST

    task = setup.load_task(options, list(methods.values()))
    targets = setup.targets_of(options, task.class_names)
    if options.dry_run:
        print(runs.describe(task, methods, targets, options.chunk))
        return OK
    if (options.out / MANIFEST).exists():
        raise ValueError(f"out={options.out} is the sample folder of another command; choose another folder")
    # More methods join those that are there, and are scored and reported together.
    with scoring.claimed_output(options.out, as_json(options), options.overwrite, free=FREE):
        return _compare(options, task, methods, targets)


def _compare(options: Options, task: LabelTask, methods: Mapping[str, Method], targets: np.ndarray) -> int:
    from tfg_jax.cli import runs, scoring, setup
    from tfg_jax.result import finished
    from tfg_jax.runs.store import open_folder

    notes = setup.dependence_notes(task.guide, task.judge.evaluator)
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    scored: dict[str, LabelRun] = {}
    configs = {name: setup.sample_config(options, task, method, targets) for name, method in methods.items()}
    for name, method in methods.items():
        home = options.out / name
        with open_folder(home, configs[name], len(targets), options.chunk, options.overwrite) as folder:
            scoring.write_config(options.out, "compare", as_json(options), configs)
            runs.fill(folder, task, method, targets, name)
            arrays, seconds = folder.read_all(), sum(runs.read_seconds(home).values())
        scored[name] = scoring.label_run(task.judge, task.class_names, arrays, seconds, configs[name])
    _report(options.out, scored, configs, notes)
    return FAILED_SAMPLES if any(not finished(found.status_code).all() for found in scored.values()) else OK


def _report(out: Path, scored: Mapping[str, LabelRun], configs: Mapping[str, Any], notes: list[str]) -> None:
    from tfg_jax import report
    from tfg_jax.files import write_bytes
    from tfg_jax.metrics import titled
    from tfg_jax.report.images import save_png

    found = _numbers(scored)
    rounded = {name: numbers | {"seconds": round(numbers["seconds"], 1)} for name, numbers in found.items()}
    rows = [{"method": name, **titled(numbers, COLUMNS, short=True)} for name, numbers in rounded.items()]
    report.write_json(out / "compare.json", found)
    write_bytes(out / "table.md", (report.markdown_table(rows) + "\n").encode())
    picture = _grid(scored)
    save_png(out / "grid.png", picture)
    common = next(iter(found.values()))["compared_samples"]
    text = (
        f"The same seeds, requests, sampler and clip for every method; 95 % intervals. Failed samples count as misses; "
        f"Fréchet distances are over the {common} samples that every method finished."
    )
    sections = [
        report.Section(
            "Table", [*(report.Text(note, warning=True) for note in notes), report.Text(text), report.Table(rows)]
        ),
        report.Section(
            "Samples", [report.Figure(picture, "One row of samples for each method", "Same seeds in a column.")]
        ),
    ]
    if chart := _chart(found):
        sections.insert(
            1, report.Section("Accuracy against distance", [report.Figure(chart, "Scatter of the methods")])
        )
    sections.append(report.Section("Configuration", [report.Config(configs)]))
    report.write_report(out / "report.html", "Guidance methods compared", sections)
    print(report.text_table(rows))
    print(f"\npicture  {out / 'grid.png'}\nreport   {out / 'report.html'}\ntable    {out / 'table.md'}")


def _numbers(scored: Mapping[str, LabelRun]) -> dict[str, dict[str, Any]]:
    """Metrics by method, with Fréchet distances over one set of samples: they are comparable at equal n alone."""
    import numpy as np

    from tfg_jax.report import label_metrics

    common = np.logical_and.reduce([found.ok() for found in scored.values()])
    numbers = {}
    for name, found in scored.items():
        numbers[name] = label_metrics(dataclasses.replace(found, features=None, reference_features=None))
        numbers[name]["compared_samples"] = int(common.sum())
        if found.features is not None and common.sum() > 1:
            shared = dataclasses.replace(found, status_code=np.where(common, 0, 1), reference_images=None)
            keys = ("frechet_distance", "frechet_distance_low", "frechet_distance_high")
            numbers[name] |= {key: label_metrics(shared)[key] for key in keys}
    return numbers


def _chart(found: Mapping[str, Mapping[str, Any]]) -> Any:
    from tfg_jax import report
    from tfg_jax.metrics import METRICS, estimate

    across, up = "frechet_distance", "evaluator_accuracy"
    points = {
        name: (estimate(numbers, across), estimate(numbers, up)) for name, numbers in found.items() if across in numbers
    }
    return report.scatter(points, METRICS[across].axis, METRICS[up].axis) if points else None


def _grid(scored: Mapping[str, LabelRun]) -> Pixels:
    import numpy as np

    from tfg_jax import report

    rows = [np.where(found.ok()[:, None, None, None], found.x, np.nan)[:SHOWN] for found in scored.values()]
    return report.grid(rows, row_labels=list(scored), scale=3, gap=4)
