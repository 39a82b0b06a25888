"""Work that is done behind the making of what comes next, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


def behind(work: Callable[[Item], Done], items: Iterable[Item]) -> Iterator[Done]:
    """``work`` of every item in turn, while the next item is made; the results in their order.

    Two items are there at a time at most. Whatever stops it, work that was begun ends first; what it raises is raised
    once the next item is made.
    """
    with ThreadPoolExecutor(1) as thread:
        before: Future[Done] | None = None
        for item in items:
            if before is not None:
                yield before.result()
            before = thread.submit(work, item)
        if before is not None:
            yield before.result()
