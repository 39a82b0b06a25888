"""`tfg-jax optimize`: rounds of gradient guidance that raise a reward of images, with a report."""

from __future__ import annotations

import sys
from typing import Any

from tfg_jax.cli.main import FAILED_SAMPLES, OK, Interrupted
from tfg_jax.cli.optimize_options import Options
from tfg_jax.cli.options import as_json


def run(options: Options) -> int:
    """Optimize, store every round, report."""
    from tfg_jax.cli.optimize_setup import describe, settings
    from tfg_jax.runs.store import open_folder

    setup = settings(options)
    if options.dry_run:
        print(describe(setup))
        return OK
    total = (options.rounds + 1) * options.batch
    with open_folder(options.out, setup.config, total, options.batch, options.overwrite) as folder:
        from tfg_jax.cli.scoring import write_config

        write_config(options.out, "optimize", as_json(options), setup.config)
        found = _drive(options, setup, folder)
        rounds = [folder.read(indices) for indices in folder.ranges()[: found.rounds + 1]]
        _report(options, setup, found, rounds)
    if found.stopped is not None:
        print(
            f"tfg-jax optimize: every image of round {found.stopped} failed; round {found.rounds} is the last good "
            "one, lower --beta-coef or --delta",
            file=sys.stderr,
        )
        return FAILED_SAMPLES
    failed = int(found.history["failed"].sum())
    if failed:
        from tfg_jax.report import counted

        print(f"tfg-jax optimize: {counted(failed, 'image')} failed and kept the last good state", file=sys.stderr)
    return FAILED_SAMPLES if failed else OK


def _report(options: Options, setup: Any, found: Any, rounds: list) -> None:
    """metrics.json, grid.png and report.html, and the rounds on the terminal."""
    from tfg_jax.report import text_table
    from tfg_jax.report.optimize import optimize_report, shown_rounds

    out, history = options.out, found.history
    optimize_report(found, rounds, setup.reward_name, setup.config).write(out)
    rows = [
        {"round": k, "reward": float(history["reward"][k]), "best": float(history["reward_best"][k]),
         "failed": int(history["failed"][k])}
        for k in shown_rounds(found)
    ]  # fmt: skip
    print(text_table(rows))
    print(f"\npicture  {out / 'grid.png'}\nreport   {out / 'report.html'}\nnumbers  {out / 'metrics.json'}")


def _drive(options: Options, setup: Any, folder: Any) -> Any:
    """All rounds that are not there yet, as `Optimized`.

    Raises `Interrupted` on a signal, after the round at hand is on disk, and when the disk refuses a shard.
    """
    import jax
    import numpy as np
    from tqdm import tqdm

    from tfg_jax.optimize import iterate
    from tfg_jax.signals import stop_on_signals
    from tfg_jax.training.checkpoint import saved_steps

    state, ranges, missing = options.out / "state", folder.ranges(), folder.missing()
    done = max(saved_steps(state), default=-1)
    # Each round needs the last alone, but the folder promises them all: with one lost, the run is made again.
    again = options.overwrite or any(indices in missing for indices in ranges[: done + 1])
    left = options.rounds - (-1 if again else done)
    if done >= 0 and not again:
        print(f"rounds 0 to {done} are on disk already", file=sys.stderr)

    with (
        stop_on_signals("this round") as stop,
        tqdm(total=options.rounds + 1, initial=options.rounds + 1 - left, unit="round", desc=setup.reward_name) as bar,
    ):

        def on_round(number: int, batch: Any, numbers: dict[str, float]) -> bool:
            if ranges[number] in missing:
                try:
                    arrays = {"x": np.asarray(batch.z), "reward": np.asarray(batch.value), **setup.labels}
                    folder.write(ranges[number], arrays)
                except OSError as error:
                    raise Interrupted(
                        f"{folder.path} cannot be written ({error.strerror}); make room and resume"
                    ) from error
            bar.update(1)
            bar.set_postfix(reward=f"{numbers['reward']:.3g}")
            return stop.is_set()

        found = iterate(
            jax.random.key(options.seed), setup.model, setup.objective, folder=state, config=setup.config,
            save_every=1, overwrite=again, on_round=on_round, **setup.options,
        )  # fmt: skip
        if stop.is_set() and found.stopped is None:
            raise Interrupted(
                f"interrupted: rounds 0 to {found.rounds} of {options.rounds} are kept in {folder.path}; "
                "the same command resumes"
            )
    return found
