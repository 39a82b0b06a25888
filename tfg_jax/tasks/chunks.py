"""Any task, range by range of sample indices, each by one call of the same compiled program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from tfg_jax.checks import check_count
from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.result import Cost, Samples


@runtime_checkable
class Task(Protocol):
    """What is sampled: a model and an objective, with one target a sample."""

    @property
    def traced(self) -> tuple[str, ...]:
        """Names of the attributes that are networks or operators: arguments, not constants, of a compiled program."""
        ...

    @property
    def model(self) -> Any:
        """The diffusion or flow model."""
        ...

    @property
    def sampler(self) -> Any:
        """The sampler rule."""
        ...

    def upper_cost(self, guidance: Any) -> Cost:
        """Calls per sample before a run is made."""
        ...

    def sample(
        self,
        key: PRNGKeyArray,
        targets: Any,
        guidance: Any,
        *,
        conditional: bool = False,
        index_offset: int | Array = 0,
    ) -> Samples:
        """One batch of samples, one a target."""
        ...


@public
def run_chunked(
    task: Task,
    key: PRNGKeyArray,
    targets: Shaped[AnyArray, "n *target"],
    guidance: Any,
    *,
    chunk: int,
    conditional: bool = False,
    ranges: Iterable[range] | None = None,
    stop: Callable[[], bool] | None = None,
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
    Yields:
        The range and its samples on the host.
    Raises:
        ValueError: a range longer than the chunk, and as `tfg_jax.sample`.
    """
    check_count("chunk", chunk)
    n = len(targets)
    if ranges is None:
        ranges = [range(start, min(start + chunk, n)) for start in range(0, n, chunk)]
    for indices in ranges:
        if stop is not None and stop():
            return
        if len(indices) > chunk:
            raise ValueError(f"ranges holds {indices}, longer than chunk={chunk}; cut it or raise chunk")
        wanted = np.asarray(targets)[indices.start : indices.stop]
        padded = np.concatenate([wanted, np.repeat(wanted[:1], chunk - len(wanted), axis=0)])
        samples = task.sample(key, padded, guidance, conditional=conditional, index_offset=indices.start)
        while not samples.x.is_ready():  # type: ignore[attr-defined]  # a blocking wait would keep signals waiting too
            time.sleep(0.01)
        count = len(indices)
        yield indices, jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], samples)
