"""What sampling commands do with a run: tell its cost, or sample, score and report it."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tfg_jax.cli.devices import leaving, mesh_notes, own_share
from tfg_jax.cli.main import FAILED_SAMPLES, OK, SCORING_FAILED
from tfg_jax.cli.options import as_json
from tfg_jax.files import to_json
from tfg_jax.metrics import InverseRun, LabelRun
from tfg_jax.metrics.molecule_run import MoleculeRun
from tfg_jax.metrics.titles import INVERSE, LABEL, MOLECULES, titled
from tfg_jax.report import counted, text_table, with_failed
from tfg_jax.report.inverse import restoration_report
from tfg_jax.report.label import label_report
from tfg_jax.report.molecules import molecule_report
from tfg_jax.report.task import TABLE, named_estimates, samples_table, task_report
from tfg_jax.result import finished
from tfg_jax.rows import Arrays
from tfg_jax.runs.claim import RESULTS, claim
from tfg_jax.runs.run import Run
from tfg_jax.runs.store import SampleFolder, await_shards, versions
from tfg_jax.runs.values import LocalValues, url_of, values_at
from tfg_jax.tasks.base import Evaluation

NAMED = 5
"""Failed samples that are named."""


def drive(command: str, options: Any, run: Run, title: str, again: str) -> int:
    """Sample, score and report one run, or with ``--dry-run`` tell its cost; ``again`` scores it again."""
    worker = own_share(options)
    for note in [*run.task.notes(), *mesh_notes(run)]:
        print(f"note: {note}", file=sys.stderr)
    if options.dry_run:
        print(describe([run]))
        return OK
    if worker is not None:
        with leaving(options, worker), run.open(options.out, overwrite=options.overwrite, worker=worker) as folder:
            write_config(options.out, command, options, run.config)
            run.compute(folder)
        scores = "process 0" if options.distributed else "the same command without --worker"
        whose = f"worker {worker.index}/{worker.count}"
        print(f"the shards of {whose} are complete in {folder.name}; once all are, {scores} scores them")
        if worker.index or not options.distributed:
            return OK
        await_shards(options.out)
    with run.open(options.out, overwrite=options.overwrite and worker is None) as folder:
        write_config(options.out, command, options, run.config)
        run.compute(folder)
        arrays = folder.arrays()
        try:
            scored = run.evaluate(folder)
            with results_folder(folder) as out:
                said = write_report(out, scored, title, arrays, run.config).replace(str(out), folder.name)
        except Exception as error:  # whatever goes wrong here, the samples are safe and the user must hear of them
            print(f"tfg-jax {command}: the samples are complete in {folder.name}, but scoring failed "
                  f"({type(error).__name__}: {error}); {again}", file=sys.stderr)  # fmt: skip
            return SCORING_FAILED
    print(said)
    return exit_code(command, arrays)


def describe(runs: Sequence[Run]) -> str:
    """What runs would cost: the table of a dry run. One program is compiled, that of the costliest method."""
    rows = [run.cost() for run in runs]
    dearest = max(
        range(len(rows)), key=lambda i: (rows[i]["forwards"] + rows[i]["pullbacks"], rows[i]["objective gradients"])
    )
    for i, row in enumerate(rows):
        row["memory (MB)"] = runs[i].memory() if i == dearest else None
    whose = f"the program of {runs[dearest].name}, the costliest," if len(rows) > 1 else "the program"
    chunk = counted(runs[dearest].chunk, "sample")
    note = f"Upper bounds; memory is of {whose} compiled for {chunk} on {jax.devices()[0]}."
    return f"{text_table(rows)}\n{note} Nothing was sampled or written."


def write_report(out: Path, scored: Evaluation, title: str, arrays: Arrays, config: Mapping[str, Any]) -> str:
    """metrics.json, report.html and what else shows the samples in `out`; returns what to say of them on the terminal.

    A numbers' page of any task, or the one of its kind where the evaluation holds what that shows.
    """
    run, numbers = scored.run, scored.numbers
    shown = {**titled(numbers, [key for key in (*LABEL, *INVERSE, *MOLECULES) if key != "inception_score"])}
    if isinstance(run, LabelRun):
        label_report(run, numbers, title).write(out)
        if worst := numbers.get("least_like_real"):
            named = [(each["sample"], run.class_names[int(run.targets[each["sample"]])]) for each in worst[:3]]
            shown["least like real ones"] = ", ".join(f"#{i} {name}" for i, name in named)
    elif isinstance(run, InverseRun):
        restoration_report(run, numbers, title).write(out)
    elif isinstance(run, MoleculeRun):
        report = molecule_report(run, numbers, title)
        table = {TABLE: partial(samples_table, scored.values)}
        dataclasses.replace(report, files={**report.files, **table}).write(out)
    else:
        task_report(scored.values, numbers, arrays, title, config).write(out)
        shown = named_estimates(numbers, scored.values)
    cost = [key for key in ("network_forwards_per_sample", "seconds") if numbers[key]]  # images alone do not say
    rows = {**shown, **titled(numbers | {"seconds": round(numbers["seconds"], 1)}, cost)}
    rows["finished"] = with_failed(numbers["samples"], numbers["failed_samples"])
    return f"{text_table([{'': name, 'value': str(value)} for name, value in rows.items()])}\n\n{written(out)}"


def written(out: Path) -> str:
    """Where the files of a report lie."""
    files = {"picture": "grid.png", "report": "report.html", "numbers": "metrics.json", "sdf": "molecules.sdf"}
    return "\n".join(f"{what:<9}{out / name}" for what, name in files.items() if (out / name).exists())


def write_config(out: Path, command: str, options: Any, resolved: Mapping[str, Any]) -> None:
    """config.json: the options as `--config` reads them, what they came to, and the versions."""
    said = {"command": command, "options": as_json(options), "resolved": resolved, "versions": versions()}
    values_at(out).write("config.json", (to_json(said) + "\n").encode())


@contextmanager
def results_folder(folder: SampleFolder) -> Iterator[Path]:
    """Where files are written to that shall lie in an open sample folder: there, or to be uploaded from."""
    if url_of(folder.path) is None:
        yield folder.path
        return
    with tempfile.TemporaryDirectory() as local:
        yield Path(local)
        for key in LocalValues(Path(local)).keys():
            folder.values.write(key, (Path(local) / key).read_bytes())


@contextmanager
def claimed_output(options: Any, former: Mapping[str, Any], free: Sequence[str] = ()) -> Iterator[None]:
    """Hold the output folder (made if missing) for the results of these options.

    ``free`` names options that may differ, ``former`` values of those that earlier versions did not have. ValueError if
    it holds the results of other options and is not to be overwritten, is written by another process, or cannot be.
    """
    kind = dataclasses.replace(RESULTS, read=lambda file: {**former, **RESULTS.read(file)})
    lock, _ = claim(options.out, as_json(options), kind, overwrite=options.overwrite, free=free)
    with lock:
        yield


def exit_code(command: str, arrays: Arrays) -> int:
    """OK, or FAILED_SAMPLES with a word about them."""
    status = np.asarray(arrays["status_code"])
    which = np.flatnonzero(~finished(status))
    failed = len(which)
    if failed:
        named = ", ".join(f"#{i}" for i in which[:NAMED].tolist()) + ", ..." * (failed > NAMED)
        said = f"{failed} of {counted(len(status), 'sample')} failed ({named})"
        print(f"tfg-jax {command}: {said}; the report shows failures first", file=sys.stderr)
    return FAILED_SAMPLES if failed else OK
