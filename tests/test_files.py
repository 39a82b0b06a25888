"""Atomic files and folder locks under failure and contention."""

import hashlib
import json
import os
import socket
import subprocess
import sys

import pytest

from tfg_jax.files import LOCK, lock, unlock, write_atomically


def test_a_file_appears_whole_and_its_hash_is_returned(tmp_path):
    file = tmp_path / "a.bin"
    digest = write_atomically(file, lambda out: out.write(b"abc"))
    assert file.read_bytes() == b"abc" and digest == hashlib.sha256(b"abc").hexdigest()
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")

    def fail(out):
        out.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, fail)
    assert file.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_one_process_writes_at_a_time(tmp_path):
    lock(tmp_path)
    with pytest.raises(ValueError, match=rf"written by another process .*{os.getpid()}"):
        lock(tmp_path)
    unlock(tmp_path)
    lock(tmp_path)


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    code = f"from pathlib import Path; from tfg_jax.files import lock; lock(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert json.loads((tmp_path / LOCK).read_text())["pid"] != os.getpid()
    lock(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert [p.name for p in tmp_path.iterdir()] == [LOCK]


def test_a_process_number_used_again_does_not_keep_the_lock(tmp_path):
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "start": "another boot/17"}
    (tmp_path / LOCK).write_text(json.dumps(holder))
    lock(tmp_path)


def test_nothing_is_assumed_of_another_host(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "dead"}))
    with pytest.raises(ValueError, match="elsewhere.*delete .*lock if it is gone"):
        lock(tmp_path)


def test_a_lock_that_was_never_filled_is_taken_over_once_it_is_old(tmp_path):
    (tmp_path / LOCK).touch()
    with pytest.raises(ValueError, match="another process"):
        lock(tmp_path)
    os.utime(tmp_path / LOCK, (0, 0))
    lock(tmp_path)
