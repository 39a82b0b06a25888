"""`tfg-jax evaluate`: metrics, picture and page of samples that are on disk already."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfg_jax.cli.main import FAILED_SAMPLES, OK
from tfg_jax.cli.options import Part, Typed, data_set
from tfg_jax.tasks.find import DEFAULT


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """What is scored, by what, and where to."""

    source: Annotated[Path, tyro.conf.Positional] = Path("outputs/sample")
    """Sample folder; or .npz file with `x`, images (n, H, W, C) as floats in [-1, 1] or bytes 0..255, and `target`, the
    requested classes (n,)."""
    task: str = DEFAULT
    """The data set."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/evaluate")
    """Folder of the results."""
    evaluator: str = ""
    """Classifier that scores: released name or folder of weights."""
    guide: str | None = None
    """Classifier that guided, to show its view too."""
    data: Path | None = None
    """Folder of the original files of the data set: more real images to compare with than the hundred shipped ones."""
    overwrite: bool = False
    """Replace the results of another evaluation."""
    dry_run: bool = False
    """Read and check everything; score and write nothing."""


def parts(typed: Typed) -> list[Part]:
    """The options."""
    return [Part(EvaluateOptions, {"evaluator": data_set(typed).networks["evaluator"]})]


def run(options: Any) -> int:
    """Score a sample folder, or images of your own, with an evaluator."""
    from tfg_jax.cli import drive
    from tfg_jax.metrics import label_metrics
    from tfg_jax.objectives.classifier import Classifier, check_classes
    from tfg_jax.report import counted
    from tfg_jax.runs.read import stored_samples
    from tfg_jax.tasks.base import Evaluation
    from tfg_jax.tasks.find import find_task
    from tfg_jax.tasks.label import dependence_notes, label_run, names_of
    from tfg_jax.tasks.scoring import check_samples, load_as

    subject = find_task(options.task)
    arrays, seconds, config = stored_samples(options.source)
    guide = None if options.guide is None else load_as(options.guide, Classifier)
    evaluator = subject.load_evaluator(options.evaluator, guide=guide, data=options.data)
    if arrays["target"].ndim != 1:
        raise ValueError(f"source={options.source} has no classes as targets; the command that made it scores it")
    count, n = evaluator.network.num_classes, len(arrays["x"])
    check_classes(f"target of source={options.source}", arrays["target"], n, count)
    for role, network in (("evaluator", evaluator.network), ("guide", guide)):
        if network is not None:
            check_samples(f"source={options.source}", arrays["x"].shape[1:], role, getattr(options, role), network)
    if options.dry_run:
        print(f"{counted(n, 'sample')} of shape {arrays['x'].shape[1:]}; nothing was scored or written.")
        return OK
    notes = dependence_notes(guide, evaluator.network) if guide is not None else []
    with drive.claimed_output(options, {"task": DEFAULT}):
        drive.write_config(options.out, "evaluate", options, config)
        scored = label_run(evaluator, names_of(count, subject.CLASS_NAMES), arrays, seconds, config, notes)
        title = f"Evaluation of {options.source}"
        print(
            drive.write_report(
                options.out, Evaluation({}, lambda: label_metrics(scored), scored), title, arrays, config
            )
        )
    return OK if scored.ok().all() else FAILED_SAMPLES
