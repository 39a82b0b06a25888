"""The right to write below a URL: an object that its holder renews, and that others take over once it no longer does.

Object stores have no locks, but write an object only if it is the one that was read. A lease that was not renewed for
`LEASE_SECONDS` by the clock of who watches it is over.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import secrets
import sys
import threading
import time
from typing import Any

LEASE_SECONDS = 60.0
RENEWALS = 6  # in that time
POLL_SECONDS = 0.5
OS_ERROR = re.compile(r"os_error_code='(\d+)'")


def done(future: Any) -> Any:
    """The result of a call of TensorStore; OSError in the place of its errors."""
    try:
        return future.result()
    except Exception as error:
        code = OS_ERROR.search(str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number) if code else str(error)) from error


class Lease:
    """Held from its construction on.

    Args:
        store: of TensorStore.
        key: of the object.
        name: of what is locked, for messages.

    Raises:
        ValueError: a living process holds it.
    """

    def __init__(self, store: Any, key: str, name: str):
        self._store, self._key, self._name = store, key, name
        self._token = f"{os.getpid()} on {platform.node()} {secrets.token_hex(8)}"
        self._stop, self._renewals = threading.Event(), 0
        self._lost = False
        self._generation = self._take()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise ValueError if it was lost: it could not be renewed in time, or another process took over."""
        if self._lost or time.monotonic() - self._renewed > LEASE_SECONDS:
            raise ValueError(f"path={self._name} was taken over while this process slept; wait for the other to end")

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            if not self._lost:
                done(self._store.write(self._key, None, if_equal=self._generation))

    def _put(self, seen: bytes) -> bytes | None:
        """Write in the place of the generation that was seen; the new one, or None if there is another's by now.

        A store that is asked again, since its answer was lost, refuses what it did already: what is then there is ours.
        """
        self._renewals += 1
        body = json.dumps({"holder": self._token, "renewals": self._renewals}).encode()
        while True:
            begun = time.monotonic()  # others count from when it was written, which is later
            if generation := done(self._store.write(self._key, body, if_equal=seen)).generation:
                self._renewed = begun
                return generation
            there = done(self._store.read(self._key))
            if self._token.encode() not in there.value:
                return None
            seen = there.stamp.generation

    def _take(self) -> bytes:
        seen, first, since, begun, told = b"", b"", 0.0, time.monotonic(), False
        while True:
            there = done(self._store.read(self._key))
            now, free = time.monotonic(), there.state != "value"
            if there.stamp.generation != seen:
                seen, since = there.stamp.generation, now
                first = first or seen
            over = now - since > LEASE_SECONDS + 1.0
            if (free or over) and (mine := self._put(seen)) is not None:
                return mine
            if not free and seen != first:
                raise ValueError(f"path={self._name} is being written by another process ({_holder(there.value)}); "
                                 "wait for it to end")  # fmt: skip
            if not told and now - begun > 1.0:
                told = True
                print(f"path={self._name} is locked by {_holder(there.value)}; waiting up to {LEASE_SECONDS:.0f} s "
                      "for a sign of life", file=sys.stderr)  # fmt: skip
            time.sleep(min(POLL_SECONDS, LEASE_SECONDS / 10))

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_SECONDS / RENEWALS):
            try:
                renewed = self._put(self._generation)
            except Exception:  # of a network that may come back in time
                continue
            if renewed is None:
                self._lost = True
                return
            self._generation = renewed


def _holder(body: bytes) -> str:
    try:
        return f"pid {json.loads(body)['holder'].rpartition(' ')[0]}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "one that does not say"
