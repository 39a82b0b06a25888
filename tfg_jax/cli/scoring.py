"""From stored arrays to numbers, picture and page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.files import write_json
from tfg_jax.locks import FolderLock
from tfg_jax.metrics import LabelRun
from tfg_jax.metrics.titles import LABEL, titled
from tfg_jax.report import label_guidance_report, text_table, with_failed
from tfg_jax.runs.claim import RESULTS, claim
from tfg_jax.runs.store import versions
from tfg_jax.tasks.scoring import Judge


def label_run(
    judge: Judge,
    class_names: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    seconds: float,
    config: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> LabelRun:
    """Stored arrays with what the networks say of them; images alone (x, target) count as finished and free."""
    x, n = arrays["x"], len(arrays["x"])
    scores, real = judge.score(x), judge.images
    counts = ("forwards", "pullbacks", "objective")
    return LabelRun(
        x=x,
        targets=arrays["target"],
        evaluator_logits=scores.evaluator_logits,
        status_code=arrays.get("status_code", np.zeros(n, np.int32)),
        status_step=arrays.get("status_step", np.full(n, -1, np.int32)),
        cost={name: arrays.get(f"cost_{name}", np.zeros(n, np.int32)) for name in counts},
        seconds=seconds,
        class_names=class_names,
        guide_logits=scores.guide_logits,
        features=scores.features,
        reference_features=judge.moments,
        reference_images=real if real is not None and real.shape[1:] == x.shape[1:] else None,
        objective=arrays.get("objective"),
        config=config,
        notes=notes,
    )


def write_label_report(out: Path, run: LabelRun, title: str) -> str:
    """metrics.json, grid.png and report.html in `out`; returns what to say of them on the terminal."""
    found = label_guidance_report(out, run, title)
    shown = titled(found, [key for key in LABEL if key != "inception_score"])
    if worst := found.get("least_like_real"):
        named = [(each["sample"], run.class_names[int(run.targets[each["sample"]])]) for each in worst[:3]]
        shown["least like real ones"] = ", ".join(f"#{i} {name}" for i, name in named)
    return summary(out, shown, found)


def summary(out: Path, shown: Mapping[str, Any], found: dict[str, Any]) -> str:
    """Main numbers of a run by title, what they cost, and where its files lie, as text."""
    cost = [key for key in ("network_forwards_per_sample", "seconds") if found[key]]  # images alone do not say
    rows = {**shown, **titled(found | {"seconds": round(found["seconds"], 1)}, cost)}
    rows["finished"] = with_failed(found["samples"], found["failed_samples"])
    files = f"picture  {out / 'grid.png'}\nreport   {out / 'report.html'}\nnumbers  {out / 'metrics.json'}"
    return f"{text_table([{'': title, 'value': str(value)} for title, value in rows.items()])}\n\n{files}"


def write_config(out: Path, command: str, options: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """config.json: the options as `--config` reads them, what they came to, and the versions."""
    write_json(
        out / "config.json",
        {"command": command, "options": options, "resolved": resolved, "versions": versions()},
    )


@contextmanager
def claimed_output(
    out: Path, options: Mapping[str, Any], overwrite: bool, free: Sequence[str] = ()
) -> Iterator[FolderLock]:
    """Hold `out` (made if missing) for the results of these options; ``free`` names options that may differ.

    Raises ValueError if it holds the results of other options and is not to be overwritten, if another process writes
    there, or if it cannot be written.
    """
    held, _ = claim(out, options, RESULTS, overwrite=overwrite, free=free)
    with held:
        yield held
