"""One writer of a folder: among processes of this host, those of others, the killed and those that slept."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfg_jax import locks
from tfg_jax.locks import LOCK, lock

STRESS = Path(__file__).parents[1] / "scripts" / "stress" / "locks.py"
ELSEWHERE = "filelock/2\npid=7\nhost=elsewhere\nmode=lease\ntoken=abc\nduration={}\n"


@pytest.fixture
def quick(monkeypatch):
    """Leases of half a second."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.02)


def test_one_process_writes_at_a_time_and_leaves_nothing_behind(tmp_path):
    with lock(tmp_path / "new") as held:
        held.check()
        with pytest.raises(ValueError, match=rf"written by another process \(pid {os.getpid()} on .*wait for it"):
            lock(tmp_path / "new")
    held.release()
    assert not list((tmp_path / "new").iterdir())
    lock(tmp_path / "new").release()


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    code = f"import os; from tfg_jax.locks import lock; held = lock({str(tmp_path)!r}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code])
    assert f"pid={os.getpid()}\n" not in (tmp_path / LOCK).read_text()
    since = time.monotonic()
    with lock(tmp_path):
        assert time.monotonic() - since < 0.1 and f"pid={os.getpid()}\n" in (tmp_path / LOCK).read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel lock", "lease alone"])
def test_the_lock_of_another_host_is_taken_over_once_its_lease_is_over(tmp_path, quick, monkeypatch, kernel):
    if not kernel:
        monkeypatch.setattr(locks, "_kernel_lock", lambda *_: None)
    (tmp_path / LOCK).write_text(ELSEWHERE.format(0.5))
    since = time.monotonic()
    with lock(tmp_path):
        assert 0.4 < time.monotonic() - since


def test_it_is_taken_over_where_names_cannot_be_exchanged(tmp_path, quick, monkeypatch):
    monkeypatch.setattr("filelock._soft._exclusive._recovery.exchange_names", lambda *_: False)
    (tmp_path / LOCK).write_text(ELSEWHERE.format(0.5))
    with lock(tmp_path) as held:
        held.check()


def test_a_living_process_of_another_host_is_left_alone(tmp_path, quick, monkeypatch):
    code = (
        "import socket, time; from tfg_jax import locks; socket.gethostname = lambda: 'elsewhere'\n"
        "locks._kernel_lock, locks.LEASE_SECONDS = lambda *_: None, 0.5\n"
        f"with locks.lock({str(tmp_path)!r}): print('held', flush=True); time.sleep(30)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match=f"pid {other.pid} on elsewhere"):
        lock(tmp_path)
    other.kill()
    other.wait()
    lock(tmp_path).release()


@pytest.mark.parametrize("left", ["", '{"host": "elsewhere", "pid": 1, "start": "dead"}', "filelock/2\npid="])
def test_a_lock_that_says_nothing_blocks_for_a_moment(tmp_path, left, monkeypatch):
    monkeypatch.setattr(locks, "UNFILLED_SECONDS", 0.5)
    (tmp_path / LOCK).write_text(left)
    since = time.monotonic()
    with lock(tmp_path):
        assert time.monotonic() - since < 4.0


def test_who_slept_through_the_end_of_its_lease_writes_no_more(tmp_path):
    held = lock(tmp_path)
    (tmp_path / LOCK).write_text(ELSEWHERE.format(60.0))
    with pytest.raises(ValueError, match="was taken over by another process while this one slept"):
        held.check()
    held.release()


def test_waiting_is_for_living_processes_too(tmp_path):
    code = (
        "import time; from tfg_jax.locks import lock\n"
        f"with lock({str(tmp_path)!r}): print('held', flush=True); time.sleep(0.3)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with lock(tmp_path, wait=True):
        assert other.wait() == 0


@pytest.mark.parametrize("hosts", ["0", "2"])
def test_never_two_inside_under_starts_and_kills(hosts):
    run = subprocess.run(
        [sys.executable, str(STRESS), "--starts", "12", "--together", "12", "--seconds", "0.3", "--hosts", hosts],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
