"""A run: a task by a method, on a seed, for a number of samples; known by the hash of all that decides them.

Its samples lie in a folder that any interruption leaves resumable: chunks with progress and ETA, signals that stop
between chunks, seconds spent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, Shaped

from tfg_jax.checks import check_count
from tfg_jax.endtoend.run import memory_of
from tfg_jax.kinds import public
from tfg_jax.readers import MAX_JSON_BYTES, parse_json
from tfg_jax.result import Samples
from tfg_jax.rows import AnyArray, Rows
from tfg_jax.runs.behind import behind
from tfg_jax.runs.mesh import local_mesh, network_dtype, on, on_mesh, takes_mesh, whole_parts
from tfg_jax.runs.store import SampleFolder, config_hash, open_folder, read_folder, sample_arrays
from tfg_jax.runs.values import values_at
from tfg_jax.runs.workers import Worker
from tfg_jax.signals import Interrupted, stop_on_signals

# Wall-clock time of every shard: not a part of the samples, so not in the shards. Workers have files of their own.
SECONDS = "seconds"
SHARE = 50
"""How much longer chunks are computed than their seconds are written."""
SECONDS_FILE = re.compile(rf"{SECONDS}(-worker-\d+-of-\d+)?\.json")


@dataclasses.dataclass(frozen=True)
class Run:
    """A task by a method on a seed.

    Attributes:
        task: what is asked and scored, as `tfg_jax.tasks.base.Task`.
        method: how it is asked for; None is unguided.
        n: samples.
        seed: root of all random numbers.
        chunk: samples computed together, and samples a file.
        conditional: also give the targets to the network itself.
        name: for people.
        own: the configuration in the place of what the task says of itself, as JSON; None is that.
        split: devices that hold the weights together; 1 has all of them on each.
    """

    task: Any
    method: Any
    n: int
    seed: int = 0
    chunk: int = 20
    conditional: bool = False
    name: str = ""
    own: Mapping[str, Any] | None = None
    split: int = 1

    @cached_property
    def targets(self) -> np.ndarray | Rows:
        """What every sample is asked for."""
        return self.task.targets(self.n)

    @cached_property
    def config(self) -> dict[str, Any]:
        """All that decides the samples but their number, as JSON: another value of any of it is another folder."""
        if self.own is not None:
            return dict(self.own)
        precision = network_dtype(self.task.model) if hasattr(self.task, "model") else None
        more = {} if precision is None else {"dtype": precision}  # absent where there is none, as in earlier folders
        return {**self.task.describe(self.method, self.conditional, self.targets), "seed": self.seed, **more}

    @property
    def key(self) -> str:
        """The hash of the run's plain form, whatever it is computed in: chunks are no part of it."""
        return config_hash({"config": self.config, "num_samples": self.n})

    def open(self, path: Path, *, overwrite: bool = False, worker: Worker | None = None) -> SampleFolder:
        """Its folder, claimed, which may hold the first samples of it; ValueError if it holds another run."""
        first = None if overwrite else self._first(path)
        shorter = None if first is None else (first.config, first.n)
        return open_folder(path, self.config, self.n, self.chunk, overwrite, shorter=shorter, worker=worker)

    def _first(self, path: Path) -> Run | None:
        """The run of fewer samples that a folder holds, if they are the first ones of this."""
        with contextlib.suppress(ValueError, FileNotFoundError):  # no folder, or a task that has no so short run
            first = dataclasses.replace(self, n=read_folder(path).manifest["num_samples"])
            if first.n < self.n and np.array_equal(first.targets, self.targets[: first.n]):
                return first
        return None

    def samples(self, path: Path, *, overwrite: bool = False) -> dict[str, np.ndarray]:
        """All samples: what the folder lacks is computed. Raises as `fill`."""
        with self.open(path, overwrite=overwrite) as folder:
            self.compute(folder)
            return folder.read_all()

    def numbers(self, path: Path, *, overwrite: bool = False) -> dict[str, Any]:
        """What the task says of the samples."""
        arrays = self.samples(path, overwrite=overwrite)
        return self.task.evaluate(arrays, seconds=seconds_of(path), config=self.config).numbers

    def evaluate(self, folder: SampleFolder) -> Any:
        """The task's `Evaluation` of the samples of a folder, which are not all in memory at any time."""
        return self.task.evaluate(folder.arrays(), seconds=seconds_of(folder.path), config=self.config)

    def compute(self, folder: SampleFolder) -> None:
        """Compute and store what an open folder lacks, or of it the share of its worker.

        Raises `Interrupted` on a signal, after the chunk at hand is on disk, and when the disk refuses a shard.
        """
        missing, total = folder.missing(), sum(map(len, folder.own()))
        left = sum(map(len, missing))
        if left < total:
            are, samples = ("is", "sample") if total == 1 else ("are", "samples")
            said = f"{total - left} of {total} {samples} {are} on disk already"
            print(f"{self.name}: {said}", file=sys.stderr)
        if left:
            self._compute(folder, missing, total)

    def _compute(self, folder: SampleFolder, missing: list[range], total: int) -> None:
        left = sum(map(len, missing))
        with stop_on_signals("this chunk") as stop, _bar(total, left, self.name) as bar:
            chunks = run_chunked(
                self.task, jax.random.key(self.seed), self.targets, self.method,
                chunk=folder.manifest["shard_size"], conditional=self.conditional, ranges=missing, stop=stop.is_set,
                mesh=self.mesh,
            )  # fmt: skip
            writer = Writer(folder, self.targets, fresh=left == total)
            for indices in behind(writer.write, chunks):
                bar.update(len(indices))
                left -= len(indices)
            writer.end()
            if stop.is_set():
                where = f"{'in' if left else 'after'} {self.name}"
                kept = f"{total - left} of {total} samples are kept in {folder.name}"
                raise Interrupted(f"interrupted {where}: {kept}; the same command resumes")

    @property
    def mesh(self) -> Mesh | None:
        """The devices that chunks are split over. Raises ValueError as `local_mesh`."""
        if takes_mesh(self.task):
            return local_mesh(self.split)
        if self.split > 1:
            raise ValueError(f"split_weights={self.split} has no effect on {type(self.task).__name__}; leave it out")
        return None

    def cost(self) -> dict[str, Any]:
        """What it would cost at most, as a row of a table; nothing is compiled."""
        cost = self.task.upper_cost(self.method)
        return {
            "method": self.name,
            "samples": self.n,
            "shape": " x ".join(map(str, self.task.model.shape)),
            "forwards": cost.forwards * self.n,
            "pullbacks": cost.pullbacks * self.n,
            "objective gradients": cost.objective * self.n,
        }

    def memory(self) -> float | None:
        """MB of the program of one chunk on one device, which is compiled."""
        program, *arguments = self.program()
        return compiled_memory(program, *arguments)

    def program(self) -> tuple[Any, ...]:
        """What computes a chunk, to be compiled, with its arguments on the devices."""
        mesh, task = self.mesh, self.task.bare()
        size, options = (self.chunk, {}) if mesh is None else (whole_parts(self.chunk, mesh), on(mesh))

        def program(key: Any, task: Any, targets: Any) -> Any:
            return task.sample(key, targets, self.method, conditional=self.conditional, **options)

        batch = jax.ShapeDtypeStruct((size, *self.targets.shape[1:]), self.targets.dtype)
        return program, jax.random.key(0), task if mesh is None else on_mesh(task, mesh), batch


@public
def run_chunked(
    task: Any,
    key: PRNGKeyArray,
    targets: Shaped[AnyArray, "n *target"],
    guidance: Any,
    *,
    chunk: int,
    conditional: bool = False,
    ranges: Iterable[range] | None = None,
    stop: Callable[[], bool] | None = None,
    mesh: Mesh | None = None,
) -> Iterator[tuple[range, Samples]]:
    """Sample range by range of indices, each by one call of the same compiled program.

    Args:
        task: what is sampled.
        key: root key.
        targets: the targets of the whole run, one a sample: classes (n,) or measurements (n, ...).
        guidance: the method, of a kind that the task takes; None is unguided.
        chunk: shape of the compiled program, >= 1; shorter ranges are padded to it.
        conditional: also give the classes to the network itself.
        ranges: index ranges of at most `chunk` samples; default all of them in order.
        stop: asked before every range; True ends the run.
        mesh: devices that the samples of a range are split over, with the task's arrays on them; None is one device.
    Yields:
        The range and its samples on the host.
    Raises:
        ValueError: a range longer than the chunk, and as `tfg_jax.sample`.
    """
    check_count("chunk", chunk)
    n, size, options = len(targets), chunk, {}
    if mesh is not None:
        task, size, options = on_mesh(task.bare(), mesh), whole_parts(chunk, mesh), on(mesh)
    if ranges is None:
        ranges = [range(start, min(start + chunk, n)) for start in range(0, n, chunk)]
    for indices in ranges:
        if stop is not None and stop():
            return
        if len(indices) > chunk:
            raise ValueError(f"ranges holds {indices}, longer than chunk={chunk}; cut it or raise chunk")
        wanted = np.asarray(targets[indices.start : indices.stop])
        padded = np.concatenate([wanted, np.repeat(wanted[:1], size - len(wanted), axis=0)])
        samples = task.sample(key, padded, guidance, conditional=conditional, index_offset=indices.start, **options)
        while not jax.tree.leaves(samples.x)[0].is_ready():  # a blocking wait would keep signals waiting too
            time.sleep(0.01)
        count = len(indices)
        yield indices, jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], samples)


class Writer:
    """Stores chunks in a folder, and beside them the seconds that each took, from the end of the one before.

    Args:
        folder: open to write.
        targets: of the whole run.
        fresh: whether nothing is there yet.
    """

    def __init__(self, folder: SampleFolder, targets: Any, fresh: bool):
        self._folder, self._targets = folder, targets
        self._key = f"{SECONDS}{f'-{folder.worker.name}' if folder.worker else ''}.json"
        self._seconds = {} if fresh else _seconds(folder.values.read(self._key, MAX_JSON_BYTES))
        self._since, self._next = time.monotonic(), 0.0

    def write(self, chunk: tuple[range, Samples]) -> range:
        """Its samples, which are then on disk. Raises `Interrupted` when the disk refuses them."""
        indices, samples = chunk
        arrays = {**sample_arrays(samples), "target": np.asarray(self._targets[indices.start : indices.stop])}
        arrays["objective"] = samples.info["summary"]
        try:
            self._folder.write(indices, arrays)
        except OSError as error:
            raise full_disk(self._folder.name, error) from error
        now = time.monotonic()
        self._seconds[str(indices.start)], self._since = now - self._since, now
        if now >= self._next:
            self.end()
            self._next = now + SHARE * (time.monotonic() - now)
        return indices

    def end(self) -> None:
        """Write the seconds: of all chunks, so not after each of very many."""
        try:
            self._folder.values.write(self._key, json.dumps(self._seconds).encode())
        except OSError as error:
            raise full_disk(self._folder.name, error) from error


def full_disk(name: object, error: OSError) -> Interrupted:
    """What to raise when a folder cannot be written any more."""
    return Interrupted(f"{name} cannot be written ({error.strerror}); make room and resume")


def read_seconds(path: Path) -> dict[str, float]:
    """Seconds by the first index of a shard, of all workers; empty if nothing is known."""
    values, seconds = values_at(path), {}
    for key in filter(SECONDS_FILE.fullmatch, values.keys(SECONDS)):
        seconds |= _seconds(values.read(key, MAX_JSON_BYTES))
    return seconds


def _seconds(data: bytes | None) -> dict[str, float]:
    try:
        return {str(k): float(v) for k, v in (parse_json(data or b"") or {}).items()}
    except (ValueError, AttributeError, TypeError, OverflowError):
        return {}


def seconds_of(path: Path) -> float:
    """Seconds that the samples of a folder took."""
    return sum(read_seconds(path).values(), 0.0)


def compiled_memory(program: Callable[..., Any], *arguments: Any) -> float | None:
    """Arguments, outputs and temporaries of a compiled program in MB; None where the device does not tell."""
    # Buffers are laid out before LLVM is asked: on the CPU its costly half is left out, to the same bytes.
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    options = quick if jax.default_backend() == "cpu" else None
    used = memory_of(jax.jit(program).lower(*arguments).compile(compiler_options=options))
    return None if used is None else used / 1e6


def _bar(total: int, left: int, name: str) -> Any:
    """The progress of one folder; below that of a whole study it goes when it is done."""
    from tqdm import tqdm

    return tqdm(total=total, initial=total - left, unit="sample", desc=name, leave=None)
