"""Signals that ask a process to end (Ctrl-C, SIGTERM, SIGHUP): every one is answered, with exit code 75.

An exception is no answer: it is raised wherever a signal finds Python, which may be in an import or a callback that
drops it. So a command ends there and then, which costs nothing: what is on disk is complete at every moment. Where work
of some length is under way, it is finished first.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

RESUMABLE = 75


class Interrupted(Exception):
    """A run stopped before its end; what is finished is on disk, and the same command goes on."""


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def leave_on_signals(program: str) -> Iterator[None]:
    """A signal ends the process at once; one that is ignored (nohup) stays so. Entered first of all.

    Left, with the work done, all are ignored: the interpreter, which goes down a while longer, would restore what the
    system does, and the exit code were lost.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        _say(f"{program}: interrupted; the same command goes on from what it had stored\n")
        os._exit(RESUMABLE)

    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """A signal raises KeyboardInterrupt, unless it is answered already. Only the main thread can listen."""
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in SIGNALS if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signals(work: str) -> Iterator[threading.Event]:
    """An event set by the first signal; a second one acts as before. Only the main thread can listen.

    Args:
        work: what is finished first, e.g. "this chunk".
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: handler for number, handler in previous.items() if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()
        _say(f"\nstopping after {work}; once more to stop at once\n")
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


def _say(text: str) -> None:
    """Write to stderr from inside a handler: not by `sys.stderr`, which may be in the middle of a line."""
    try:
        os.write(2, text.encode())
    except OSError:  # the terminal has gone, as SIGHUP says: what is still to be said must not fail for that
        gone, nowhere = os.fstat(2), os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if os.path.samestat(os.fstat(stream), gone):
                os.dup2(nowhere, stream)
