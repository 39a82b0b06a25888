"""Atomic files under failure."""

import hashlib

import pytest

from tfg_jax.files import write_atomically


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
