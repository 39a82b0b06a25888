"""A folder that one process writes at a time, on this host and on others that share its file system.

    lock        who writes, renewed while it lives: a lease, which counts on every host and in every container
    lock.held   locked by the kernel, which gives it back whatever ends its process; only where the file system can

Both are taken. The kernel's lock is exact among processes that it knows, which includes those of a killed container. Of
others a lease is all there is to go by: one that was not renewed for `LEASE_SECONDS` is over, and a process that slept
so long has lost it, which it learns before it writes.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import BaseFileLock, FileLock, LeaseSettingsMismatch, SoftFileLease, Timeout

LOCK = "lock"
LEASE_SECONDS = 60.0
RENEWALS = 6  # in that time
UNFILLED_SECONDS = 2.0  # a lease is created and filled within milliseconds
POLL_SECONDS = 0.1
NO_KERNEL_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


class FolderLock:
    """The right to write one folder, as `lock` gives it; leaving it as a context manager gives it back."""

    def __init__(self, folder: Path, kernel: BaseFileLock | None, lease: SoftFileLease):
        self.folder, self._kernel, self._lease = folder, kernel, lease

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise ValueError if the right was lost: this process slept for longer than a lease, and another took over."""
        owner = self._lease.owner
        if self._lease.compromise is not None or owner is None or owner.token != self._lease.token:
            raise ValueError(
                f"path={self.folder} was taken over by another process while this one slept; wait for that one to end"
            )

    def release(self) -> None:
        """Give the right back; a second time does nothing."""
        self._lease.release()
        if self._kernel is not None and self._kernel.is_locked:
            _release(self._kernel)


def lock(folder: str | os.PathLike[str], wait: bool = False) -> FolderLock:
    """Take the right to write a folder (made if missing), from a process that is no more if need be.

    That of this host is known to be dead at once; of another host, when its lease was not renewed for `LEASE_SECONDS`,
    which is waited for. ``wait`` waits for living processes, too.

    Raises:
        ValueError: if another process holds it.
        OSError: if the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kernel = _kernel_lock(folder, wait)
    try:
        return FolderLock(folder, kernel, _lease(folder, wait))
    except BaseException:
        if kernel is not None:
            _release(kernel)
        raise


def _kernel_lock(folder: Path, wait: bool) -> BaseFileLock | None:
    kernel = FileLock(folder / f"{LOCK}.held", thread_local=False, fallback_to_soft=False)
    try:
        kernel.acquire(timeout=-1 if wait else 0, poll_interval=POLL_SECONDS)
    except Timeout:
        raise _held(folder) from None
    except OSError as error:
        if error.errno not in NO_KERNEL_LOCKS:
            raise
        return None
    return kernel


def _release(kernel: BaseFileLock) -> None:
    # Still locked: whoever waits for the file that goes here notices that it is gone, and makes a new one.
    if os.name == "posix":
        Path(kernel.lock_file).unlink(missing_ok=True)
    kernel.release()


class _Stamp(NamedTuple):
    """What a renewal, or another holder, changes."""

    inode: int
    changed: int
    size: int


def _lease(folder: Path, wait: bool) -> SoftFileLease:
    file = folder / LOCK
    lease = SoftFileLease(
        file, lease_duration=LEASE_SECONDS, heartbeat_interval=LEASE_SECONDS / RENEWALS, thread_local=False
    )
    seen, since, begun, told = None, 0.0, time.monotonic(), False
    while True:
        try:
            lease.acquire(blocking=False)
            return lease
        except Timeout:
            pass
        except LeaseSettingsMismatch as error:
            raise ValueError(
                f"path={folder} is locked by another version of tfg_jax; wait for it, or delete {file} if it is gone"
            ) from error
        now, stamp = time.monotonic(), _stamp(file)
        if stamp != seen:
            if None not in (seen, stamp) and not wait:
                raise _held(folder)  # renewed before our eyes
            seen, since = stamp, now
        # What is empty is never taken over by filelock, nor anything where two names cannot be exchanged (on NFS).
        patience = UNFILLED_SECONDS if stamp is not None and not stamp.size else LEASE_SECONDS + 1.0
        if stamp is not None and now - since >= patience and _stamp(file) == seen:
            with suppress(FileNotFoundError):
                file.unlink()
            seen = None
        elif not told and now - begun > 1.0:
            told = True
            print(
                f"path={folder} is locked by {_holder(folder)}; waiting up to {LEASE_SECONDS:.0f} s for a sign of life",
                file=sys.stderr,
            )
        time.sleep(POLL_SECONDS)


def _stamp(file: Path) -> _Stamp | None:
    try:
        with file.open("rb") as stream:  # opened, since a network file system may answer for a name from memory
            stat = os.fstat(stream.fileno())
    except FileNotFoundError:
        return None
    return _Stamp(stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _held(folder: Path) -> ValueError:
    return ValueError(f"path={folder} is being written by another process ({_holder(folder)}); wait for it to end")


def _holder(folder: Path) -> str:
    owner = SoftFileLease(folder / LOCK, lease_duration=LEASE_SECONDS).owner
    # Behind the question mark the name says which container.
    return "one that does not say" if owner is None else f"pid {owner.pid} on {owner.hostname.partition('?')[0]}"
