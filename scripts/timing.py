"""Seconds of programs that take turns, so that other work on the machine weighs on all alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


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
