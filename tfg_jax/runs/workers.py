"""Several processes on one output without a common start: worker i of n computes every n-th shard, from shard i on.

    locks/worker-0-of-4/     a worker's own lock, held while it lives
    lock                     held by a run without workers all its time, by a worker while it begins

Workers of one count share nothing but the manifest, so they need no agreement. Those of another count would compute the
same shards: they wait for the living ones to end, and then go on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tfg_jax.runs.values import Right, Values

LOCKS = "locks"
BEGIN_SECONDS = 10.0  # that others may take to begin, or to end
POLL_SECONDS = 0.5


class Worker(NamedTuple):
    """Number `index`, from 0, of `count`."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """Of its lock."""
        return f"worker-{self.index}-of-{self.count}"


def parse_worker(text: str | None) -> Worker | None:
    """Worker ``"i/n"``, 0 <= i < n, or None; ValueError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(f"worker={text!r:.40} must be i/n with 0 <= i < n, such as 0/4 to 3/4")
    return Worker(int(match[1]), int(match[2]))


class WorkerLock:
    """A worker's own lock, and until it has begun that of the folder."""

    def __init__(self, own: Right, begin: Right):
        self._own, self._begin = own, begin

    def check(self) -> None:
        """Raise ValueError if it was lost."""
        self._own.check()

    def begun(self) -> None:
        """Let others begin."""
        self._begin.release()

    def release(self) -> None:
        """Give both back."""
        self._begin.release()
        self._own.release()


def lock_alone(values: Values) -> Right:
    """The lock of a folder in which no worker lives; ValueError if one does, or another process."""
    right = values.lock()
    try:
        _check_dead(values, set())
    except BaseException:
        right.release()
        raise
    return right


def lock_worker(values: Values, worker: Worker, others: bool = True) -> WorkerLock:
    """The lock of one worker.

    Raises:
        ValueError: a process writes without workers, this worker or one of another count lives; or any, unless
            ``others`` may.
    """
    begin = _begin(values)
    try:
        peers = {Worker(i, worker.count).name for i in range(worker.count)} if others else set()
        _check_dead(values, peers)
        return WorkerLock(values.lock(f"{LOCKS}/{worker.name}"), begin)
    except BaseException:
        begin.release()
        raise


def await_dead(values: Values) -> None:
    """Wait for living workers, who are about to end. Raises ValueError if they do not."""
    _retried(lambda: _check_dead(values, set()))


def _begin(values: Values) -> Right:
    return _retried(values.lock)


def _retried(ask: Callable[[], Any]) -> Any:
    since = time.monotonic()
    while True:
        try:
            return ask()
        except ValueError:
            if time.monotonic() - since > BEGIN_SECONDS:
                raise
            time.sleep(0.1)


def _check_dead(values: Values, peers: set[str]) -> None:
    names = {key.split("/")[1] for key in values.keys(f"{LOCKS}/")}
    for name in sorted(name for name in names - peers if re.fullmatch(r"worker-\d+-of-\d+", name)):
        values.lock(f"{LOCKS}/{name}").release()
