"""Seconds of programs that take turns, so that other work on the machine weighs on all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np


def seconds_of(program: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of one run, its result included; of the processor, if no other clock is given."""
    start = clock()
    jax.block_until_ready(program())
    return clock() - start


def interleaved(
    programs: Mapping[str, Callable[[], Any]], runs: int, measure: Callable[..., float] = seconds_of
) -> dict[str, list[float]]:
    """Seconds of every program, a, b, a, b, ...; a first run of each compiles it and is not counted."""
    turns = [{name: measure(program) for name, program in programs.items()} for _ in range(runs + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in programs}


def ratio_of(ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray) -> str:
    """Ratio of the medians of runs that took turns, with its 95 % bootstrap interval."""
    a, b = np.asarray(ours), np.asarray(theirs)
    picks = np.random.default_rng(0).integers(len(a), size=(2000, len(a)))
    low, high = np.quantile(np.median(a[picks], axis=1) / np.median(b[picks], axis=1), [0.025, 0.975])
    return f"{np.median(a) / np.median(b):.3f} [{low:.3f}, {high:.3f}]"
