"""Filling a sample folder: chunks with progress and ETA, signals that stop between chunks, seconds spent."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tfg_jax.cli.main import FAILED_SAMPLES, OK, Interrupted
from tfg_jax.cli.methods import Method
from tfg_jax.endtoend.run import memory_of
from tfg_jax.files import read_json, write_atomically
from tfg_jax.report.table import counted, text_table
from tfg_jax.result import finished
from tfg_jax.runs.store import SampleFolder, sample_arrays
from tfg_jax.signals import stop_on_signals
from tfg_jax.tasks.chunks import Task, run_chunked

SECONDS = "seconds.json"  # wall-clock time of every shard: not a part of the samples, so not in the shards


def fill(folder: SampleFolder, task: Task, method: Method, targets: np.ndarray, name: str) -> None:
    """Compute and store what the folder lacks.

    Raises `Interrupted` on a signal, after the chunk at hand is on disk, and when the disk refuses a shard.
    """
    missing = folder.missing()
    total, left = len(targets), sum(map(len, missing))
    if left < total:
        are = "is" if total == 1 else "are"
        print(f"{name}: {total - left} of {counted(total, 'sample')} {are} on disk already", file=sys.stderr)
    if not left:
        return
    seconds = read_seconds(folder.path) if left < total else {}
    manifest = folder.manifest
    chunks = run_chunked(
        task, jax.random.key(manifest["config"]["seed"]), targets, method.guidance,
        chunk=manifest["shard_size"], conditional=method.conditional, ranges=missing,
    )  # fmt: skip
    with stop_on_signals("this chunk") as stop, _bar(total, left, name) as bar:
        since = time.monotonic()
        for indices, samples in chunks:
            arrays = {**sample_arrays(samples), "target": targets[indices.start : indices.stop]}
            arrays["objective"] = samples.info["summary"]
            try:
                folder.write(indices, arrays)
                seconds[str(indices.start)] = time.monotonic() - since
                _write_seconds(folder.path, seconds)
            except OSError as error:
                raise Interrupted(
                    f"{folder.path} cannot be written ({error.strerror}); make room and resume"
                ) from error
            since = time.monotonic()
            bar.update(len(indices))
            left -= len(indices)
            if stop.is_set():
                kept = f"{total - left} of {total} samples are kept in {folder.path}"
                raise Interrupted(f"interrupted {'in' if left else 'after'} {name}: {kept}; the same command resumes")


def _bar(total: int, left: int, name: str) -> Any:
    """The progress of one folder; below that of a whole study it goes when it is done."""
    from tqdm import tqdm

    return tqdm(total=total, initial=total - left, unit="image", desc=name, leave=None)


def exit_code(command: str, arrays: Mapping[str, np.ndarray]) -> int:
    """OK, or FAILED_SAMPLES with a word about them."""
    status = arrays["status_code"]
    failed = int((~finished(status)).sum())
    if failed:
        said = f"{failed} of {counted(len(status), 'sample')} failed"
        print(f"tfg-jax {command}: {said}; the report shows failures first", file=sys.stderr)
    return FAILED_SAMPLES if failed else OK


def read_seconds(path: Path) -> dict[str, float]:
    """Seconds by the first index of a shard; empty if nothing is known."""
    try:
        return {str(k): float(v) for k, v in (read_json(path / SECONDS) or {}).items()}
    except (ValueError, AttributeError, TypeError, OverflowError):
        return {}


def describe(task: Task, methods: dict[str, Method], targets: np.ndarray, chunk: int) -> str:
    """What a run would cost: the table of a dry run. One program is compiled, that of the costliest method."""
    samples, batch = len(targets), jax.ShapeDtypeStruct((chunk, *targets.shape[1:]), targets.dtype)
    costs = {name: task.upper_cost(method.guidance) for name, method in methods.items()}
    costliest = max(costs, key=lambda name: (costs[name].forwards + costs[name].pullbacks, costs[name].objective))
    memory = {costliest: _memory(task, methods[costliest], batch)}
    rows = [
        {
            "method": name,
            "samples": samples,
            "shape": " x ".join(map(str, task.model.shape)),
            "forwards": cost.forwards * samples,
            "pullbacks": cost.pullbacks * samples,
            "objective gradients": cost.objective * samples,
            "memory (MB)": memory.get(name),
        }
        for name, cost in costs.items()
    ]
    whose = f"the program of {costliest}, the costliest," if len(rows) > 1 else "the program"
    note = f"Upper bounds; memory is of {whose} compiled for {counted(chunk, 'sample')} on {jax.devices()[0]}."
    return f"{text_table(rows)}\n{note} Nothing was sampled or written."


def _memory(task: Task, method: Method, targets: jax.ShapeDtypeStruct) -> float | None:
    """MB of the program of one chunk."""
    import dataclasses

    def program(key: Any, traced: dict[str, Any], targets: Any) -> Any:
        held = dataclasses.replace(task, **traced)  # type: ignore[type-var]
        return held.sample(key, targets, method.guidance, conditional=method.conditional)

    return compiled_memory(program, jax.random.key(0), {name: getattr(task, name) for name in task.traced}, targets)


def compiled_memory(program: Callable[..., Any], *arguments: Any) -> float | None:
    """Arguments, outputs and temporaries of a compiled program in MB; None where the device does not tell."""
    # Buffers are laid out before LLVM is asked: on the CPU its costly half is left out, to the same bytes.
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    options = quick if jax.default_backend() == "cpu" else None
    found = memory_of(jax.jit(program).lower(*arguments).compile(compiler_options=options))
    return None if found is None else found / 1e6


def _write_seconds(path: Path, seconds: dict[str, float]) -> None:
    write_atomically(path / SECONDS, lambda out: out.write(json.dumps(seconds).encode()))
