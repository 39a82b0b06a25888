"""`tfg-jax sample`: samples that a task asks for, from a model that was never trained for it, with a report."""

from __future__ import annotations

from typing import Any

from tfg_jax.cli import methods
from tfg_jax.cli.groups import CommonOptions, ElsewhereOptions, ProgramOptions, RequestOptions
from tfg_jax.cli.options import Part, Typed, check_sizes
from tfg_jax.cli.samplers import sampler_part
from tfg_jax.cli.subjects import run_of, subject_of
from tfg_jax.tasks.find import DEFAULT

FORMER = (
    "rho", "mu", "smoothing", "strength", "n_iter", "n_recur", "n_mc", "rho_structure", "mu_structure",
    "smoothing_structure", "structure", "horizon", "lookahead_steps", "solver", "window", "steps", "eta", "v",
)  # fmt: skip


def parts(typed: Typed) -> list[Part]:
    """The groups of options of the task, method and sampler that are named, or of a program."""
    if typed.last("--program") is not None:
        return [Part(ProgramOptions)]
    subject = subject_of(typed.last("--task") or DEFAULT)
    choice = methods.chosen(typed, subject.presets, subject.unguided, subject.default)
    sampler = sampler_part(typed, subject.sampler)
    of_method = methods.parts_of(choice, typed, sampler, subject.presets)
    request, common = Part(RequestOptions, {"guidance": subject.default}), Part(CommonOptions, subject.common)
    return [request, *of_method, subject.part, common, Part(ElsewhereOptions)]


def run(options: Any) -> int:
    """Sample what a task asks for, from a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png, metrics.json and report.html.
    """
    if hasattr(options, "program"):
        return _run_program(options)
    run, subject = run_of(options), subject_of(options.task)

    from tfg_jax.cli.devices import computed
    from tfg_jax.cli.drive import drive

    run = computed(run, options)

    if options.save_program is not None:
        from tfg_jax.runs.program import check_program, save_program

        (check_program if options.dry_run else save_program)(run, options.save_program)
    return drive("sample", options, run, f"{subject.title} by {options.guidance}", subject.again(options.out))


def _run_program(options: ProgramOptions) -> int:
    """Samples of a program, in a folder as of any run."""
    from tfg_jax.aot.program import load
    from tfg_jax.cli.drive import drive
    from tfg_jax.runs.program import ProgramTask, asked_of
    from tfg_jax.runs.run import Run

    check_sizes(options, "num_samples")
    program = load(options.program)
    if options.dry_run:
        print(program)
        return 0
    task: Any = ProgramTask(program, asked_of(program, options.targets))
    run = Run(task, None, options.num_samples, options.seed, options.chunk, name=options.program.name)
    return drive("sample", options, run, f"Samples of {options.program.name}", "the same command tries again")
