"""`tfg-jax solve`: images restored from degraded, noisy measurements of them, with a report."""

from __future__ import annotations

from typing import Any

from tfg_jax.cli import methods
from tfg_jax.cli.groups import CommonOptions, ImageOptions, RestoreOptions, WorkerOptions
from tfg_jax.cli.labels import network
from tfg_jax.cli.options import Part, Typed, check_sizes, data_set
from tfg_jax.cli.sample import FORMER as OF_SAMPLE
from tfg_jax.cli.samplers import sampler_of, sampler_part

FORMER = (*OF_SAMPLE, "iterations", "rate", "line_search", "regularizer", "weight", "kind", "data_std", "weighting")


def parts(typed: Typed) -> list[Part]:
    """The groups of options of the method and sampler that are named."""
    subject = data_set(typed)
    presets = subject.INVERSE_PRESETS
    choice = methods.chosen(typed, presets, ("none",), "dps")
    images = Part(ImageOptions, {"evaluator": subject.networks["evaluator"]})
    common = Part(CommonOptions, {"model": subject.networks["model"]})
    own = methods.parts_of(choice, typed, sampler_part(typed), presets)
    return [Part(RestoreOptions), *own, images, common, Part(WorkerOptions)]


def run(options: Any) -> int:
    """Degrade images, then restore them with a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png (truth, measurement, draws, their mean and standard
    deviation), metrics.json and report.html.
    """
    from tfg_jax.cli.devices import computed
    from tfg_jax.cli.drive import drive

    run = computed(run_of(options), options)
    title = f"{options.problem} restored by {options.guidance}"
    return drive("solve", options, run, title, "the same command tries again")


def run_of(options: Any, skip: int = 0) -> Any:
    """The run that options ask for, of the images after the first ``skip``. Raises ValueError as `run`."""
    from tfg_jax.tasks.find import find_task

    subject = find_task(options.task)
    choice = methods.named(options.guidance, subject.INVERSE_PRESETS, ("none",))
    method, lookahead = methods.build(choice, options), methods.look_ahead(choice, options)
    window, sampler = methods.window_of(options), sampler_of(options)

    from tfg_jax.denoiser import Denoiser
    from tfg_jax.runs.run import Run
    from tfg_jax.tasks.restore import Images, noise_of, restoration

    check_sizes(options, "draws")
    default = subject.networks["evaluator"]
    if options.measured and not options.images:
        raise ValueError("--measured needs measurements; pass --images")
    if options.measured and options.evaluator not in (None, default):
        raise ValueError(f"--evaluator {options.evaluator} has no effect on --measured, which knows no truth; drop it")
    noise = noise_of(options.noise, options.noise_std, options.peak)
    task = restoration(
        network("model", options.model, Denoiser), options.problem,
        Images(options.images, options.measured, options.num_images, skip), noise, draws=options.draws,
        seed=options.seed, shipped=subject.shipped_images, clip=options.clip, evaluator=options.evaluator,
        optional_evaluator=options.evaluator == default, sampler=sampler, lookahead=lookahead, window=window,
    )  # fmt: skip
    return Run(task, method, len(task.measurements) * options.draws, options.seed, options.chunk, name=choice.name)
