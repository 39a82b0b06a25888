"""`tfg-jax sample`: samples that a task asks for, from a model that was never trained for it, with a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tfg_jax.cli import methods
from tfg_jax.cli.groups import CommonOptions, LabelOptions, NumberOptions, RequestOptions
from tfg_jax.cli.labels import label_defaults, label_run_task, label_size, own_objective, own_run_task
from tfg_jax.cli.options import Part, Typed
from tfg_jax.cli.samplers import sampler_of, sampler_part
from tfg_jax.tasks.dataset import DataSet
from tfg_jax.tasks.find import DEFAULT, find_task

FORMER = (
    "rho", "mu", "smoothing", "strength", "n_iter", "n_recur", "n_mc", "rho_structure", "mu_structure",
    "smoothing_structure", "structure", "horizon", "lookahead_steps", "solver", "window", "steps", "eta", "v",
)  # fmt: skip


def parts(typed: Typed) -> list[Part]:
    """The groups of options of the task, method and sampler that are named."""
    subject = find_task(typed.last("--task") or DEFAULT)
    labels = isinstance(subject, DataSet)
    presets = subject.LABEL_PRESETS if labels else subject.presets
    unguided = methods.UNGUIDED if labels else ("none",)
    default = "tfg" if "tfg" in presets or not presets else next(iter(presets))
    choice = methods.chosen(typed, presets, unguided, default)
    request = Part(RequestOptions, {"guidance": default})
    sampler = sampler_part(typed, None if labels else subject.sampler)
    asked_for = [Part(LabelOptions, label_defaults(subject))] if labels else [Part(NumberOptions)]
    common = {"model": subject.networks["model"]} if labels else {"model": "", "clip": subject.clip is not None}
    return [request, *methods.parts_of(choice, typed, sampler, presets), *asked_for, Part(CommonOptions, common)]


def run(options: Any) -> int:
    """Sample what a task asks for, from a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png, metrics.json and report.html.
    """
    subject = find_task(options.task)
    labels = isinstance(subject, DataSet)
    presets = subject.LABEL_PRESETS if labels else subject.presets
    choice = methods.named(options.guidance, presets, methods.UNGUIDED if labels else ("none",))
    method = methods.build(choice, options)
    lookahead, window = methods.look_ahead(choice, options), methods.window_of(options)
    sampler = sampler_of(options, None if labels else subject.sampler)

    from tfg_jax.cli.drive import drive
    from tfg_jax.runs.run import Run

    task = label_run_task(subject, options, [choice], sampler) if labels else own_run_task(subject, options, sampler)
    changes: dict[str, Any] = {"lookahead": lookahead} if lookahead is not None else {}
    changes |= {"window": window} if window is not None else {}
    if options.objective is not None:
        changes["own_objective" if labels else "given"] = own_objective(options.objective)
    task = dataclasses.replace(task, **changes)
    n = label_size(task, options) if labels else options.num_samples
    title = f"{'Label guidance' if labels else Path(options.task).stem} by {options.guidance}"
    again = f"try `tfg-jax evaluate {options.out}`" if labels else "the same command tries again"
    own = {"conditional": choice.conditional, "name": choice.name}
    return drive("sample", options, Run(task, method, n, options.seed, options.chunk, **own), title, again)
