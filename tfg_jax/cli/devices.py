"""Where a run is computed: in which precision, on which devices, and which share of it by this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tfg_jax.distributed import leave, process
from tfg_jax.report.table import counted
from tfg_jax.runs.mesh import in_dtype, network_dtype, whole_parts
from tfg_jax.runs.run import Run
from tfg_jax.runs.values import values_at
from tfg_jax.runs.workers import Worker, await_dead, parse_worker
from tfg_jax.signals import RESUMABLE, Interrupted


def computed(run: Run, options: Any) -> Run:
    """A run in the precision, and with weights on the devices, that options ask for.

    Raises ValueError for a model whose networks the library does not know.
    """
    task = run.task
    if options.dtype is not None:
        task = dataclasses.replace(task, model=in_dtype(task.model, options.dtype))
        if network_dtype(task.model) is None:
            raise ValueError(f"dtype={options.dtype} has no effect on a {type(task.model).__name__}; drop it")
    return dataclasses.replace(run, task=task, split=options.split_weights)


def own_share(options: Any) -> Worker | None:
    """The worker that this process is, None if it computes all. Raises ValueError for both options at once."""
    worker = parse_worker(options.worker)
    if worker is not None and options.distributed:
        raise ValueError(f"--worker {options.worker} has no effect on --distributed, whose processes know who they are")
    if not options.distributed or options.dry_run:
        return worker
    index, count = process()
    return Worker(index, count) if count > 1 else None


@contextmanager
def leaving(options: Any, worker: Worker) -> Iterator[None]:
    """A signal ends every process of a cluster after its chunk, host 0 last: the runtime of all others goes with it."""
    try:
        yield
    except Interrupted as stop:
        if not options.distributed:
            raise
        if not worker.index:
            with suppress(ValueError):  # who is longer about a chunk loses it
                await_dead(values_at(options.out))
        leave(f"tfg-jax: {stop}", RESUMABLE)


def mesh_notes(run: Run) -> list[str]:
    """What chunks cost that are no multiple of the devices."""
    mesh = run.mesh
    size = run.chunk if mesh is None else whole_parts(run.chunk, mesh)
    if mesh is None or size == run.chunk:
        return []
    return [
        f"chunk={run.chunk} takes {counted(mesh.size, 'device')} as long as {size} would; a multiple wastes nothing"
    ]
