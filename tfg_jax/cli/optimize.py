"""`tfg-jax optimize`: rounds of gradient guidance that raise a reward of images, with a report."""

from __future__ import annotations

import sys
from typing import Any

from tfg_jax.cli.groups import SharedOptions
from tfg_jax.cli.main import FAILED_SAMPLES, OK
from tfg_jax.cli.optimize_options import RequestOptions, RoundOptions
from tfg_jax.cli.options import Part, Typed, data_set


def parts(typed: Typed) -> list[Part]:
    """The groups of options."""
    networks = data_set(typed).networks
    rounds = Part(RoundOptions, {"guide": networks["reward"]})
    return [Part(RequestOptions), rounds, Part(SharedOptions, {"model": networks["model"]})]


def run(options: Any) -> int:
    """Raise a reward of generated images by rounds of gradient guidance.

    Each round asks for a goal, or for a little more reward than the last batch has, along its gradient. Writes a
    sample folder with one shard a round that the same command resumes, metrics.json, grid.png and report.html.
    """
    from tfg_jax.cli.drive import write_config, written
    from tfg_jax.cli.optimize_setup import describe, setup_of
    from tfg_jax.optimize.stored import iterate_in
    from tfg_jax.report import counted, text_table
    from tfg_jax.report.optimize import optimize_report, round_rows
    from tfg_jax.runs.store import open_folder
    from tfg_jax.runs.values import refuse_url

    refuse_url("out", options.out)
    setup = setup_of(options)
    if options.dry_run:
        print(describe(setup))
        return OK
    total = (options.rounds + 1) * options.batch
    with open_folder(options.out, setup.config, total, options.batch, options.overwrite) as folder:
        write_config(options.out, "optimize", options, setup.config)
        optimized = iterate_in(
            folder, setup.model, setup.reward.objective, seed=options.seed, name=setup.reward.name,
            labels=setup.reward.labels, config=setup.config, overwrite=options.overwrite, **setup.options,
        )  # fmt: skip
        rounds = [folder.read(indices) for indices in folder.ranges()[: optimized.rounds + 1]]
        optimize_report(optimized, rounds, setup.reward.name, setup.config).write(options.out)
    print(f"{text_table(round_rows(optimized))}\n\n{written(options.out)}")
    failed = int(optimized.history["failed"].sum())
    if optimized.stopped is not None:
        said = f"every image of round {optimized.stopped} failed; round {optimized.rounds} is the last good one"
        print(f"tfg-jax optimize: {said}, lower --beta-coef or --delta", file=sys.stderr)
    elif failed:
        print(f"tfg-jax optimize: {counted(failed, 'image')} failed and kept the last good state", file=sys.stderr)
    return FAILED_SAMPLES if failed or optimized.stopped is not None else OK
