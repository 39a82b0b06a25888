"""An iterated run in a sample folder: one shard a round, and the state of the last rounds beside them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tfg_jax.optimize.iterated import Optimized, iterate
from tfg_jax.runs.run import full_disk
from tfg_jax.runs.store import SampleFolder
from tfg_jax.signals import Interrupted, stop_on_signals
from tfg_jax.training.checkpoint import saved_steps


def iterate_in(
    folder: SampleFolder, model: Any, objective: Any, *, seed: int, rounds: int, name: str,
    labels: Mapping[str, np.ndarray], config: Mapping[str, Any], overwrite: bool = False, **options: Any,
) -> Optimized:  # fmt: skip
    """All rounds that an open folder lacks, each stored as it is done.

    Args:
        folder: with one shard a round, from the unguided one on.
        model, objective, seed, rounds: as in `iterate`.
        name: of the reward.
        labels: further arrays of every shard.
        config: of the folder.
        overwrite: begin again.
        **options: of `iterate`.
    Raises:
        Interrupted: on a signal, after the round at hand is on disk, and when the disk refuses a shard.
    """
    from tqdm import tqdm

    state, ranges, missing = folder.path / "state", folder.ranges(), folder.missing()
    done = max(saved_steps(state), default=-1)
    # Each round needs the last alone, but the folder promises them all: with one lost, the run is made again.
    again = overwrite or any(indices in missing for indices in ranges[: done + 1])
    there = 0 if again else done + 1
    if there:
        print(f"rounds 0 to {done} are on disk already", file=sys.stderr)

    with (
        stop_on_signals("this round") as stop,
        tqdm(total=rounds + 1, initial=there, unit="round", desc=name) as bar,
    ):

        def on_round(number: int, batch: Any, numbers: dict[str, float]) -> bool:
            if ranges[number] in missing:
                try:
                    folder.write(
                        ranges[number], {"x": np.asarray(batch.z), "reward": np.asarray(batch.value), **labels}
                    )
                except OSError as error:
                    raise full_disk(folder.path, error) from error
            bar.update(1)
            bar.set_postfix(reward=f"{numbers['reward']:.3g}")
            return stop.is_set()

        optimized = iterate(
            jax.random.key(seed), model, objective, rounds=rounds, folder=state, config=config, save_every=1,
            overwrite=again, on_round=on_round, **options,
        )  # fmt: skip
        if stop.is_set() and optimized.stopped is None:
            kept = f"rounds 0 to {optimized.rounds} of {rounds} are kept in {folder.path}"
            raise Interrupted(f"interrupted: {kept}; the same command resumes")
    return optimized
