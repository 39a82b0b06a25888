"""Sample folders on a real S3 server, moto's, on loopback."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tfg_jax.cli.main import main as command
from tfg_jax.runs import lease
from tfg_jax.runs.store import open_folder, read_folder
from tfg_jax.runs.values import values_at
from tfg_jax.runs.workers import Worker

CONFIG, TOTAL, SIZE, BUCKET = {"seed": 3}, 10, 4, "samples"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An empty S3 with a bucket, where the library finds it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", address.rpartition(":")[2]]
    with ExitStack() as stack:
        job = subprocess.Popen(command, stdout=stack.enter_context(log.open("w")), stderr=subprocess.STDOUT)
        stack.callback(job.wait)
        stack.callback(job.terminate)
        for _ in range(600):
            assert job.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT"), timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        secrets = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**secrets, "AWS_ENDPOINT_URL": address}.items():
                patch.setenv(name, value)
            yield address


def run(path, config=CONFIG, total=TOTAL, **options):
    """Fill a folder; returns the ranges that were computed."""
    with open_folder(path, config, total, SIZE, **options) as folder:
        todo = folder.missing()
        for indices in todo:
            x = np.stack([np.random.default_rng([3, i]).normal(size=(2, 3)) for i in indices]).astype(np.float32)
            folder.write(indices, {"x": x, "status_code": np.zeros(len(indices), np.int32)})
    return todo


def test_a_folder_on_s3_keeps_the_promises_of_a_local_one(server, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    where, local = Path(f"s3://{BUCKET}/deep/run"), tmp_path / "run"
    values = values_at(where)
    with open_folder(where, CONFIG, TOTAL, SIZE, worker=Worker(0, 2)) as folder:
        assert folder.missing() == [range(0, 4), range(8, 10)]
    assert run(where, worker=Worker(1, 2)) == [range(4, 8)] and len(run(where)) == 2
    run(local)
    files = {f.relative_to(local).as_posix(): f.read_bytes() for f in local.rglob("*") if f.is_file()}
    assert {key: values.read(key) for key in values.keys()} == files and run(where) == []
    np.testing.assert_array_equal(read_folder(where).read_all()["x"], read_folder(local).read_all()["x"])
    for damage in (files["x/c.1.0.0"][:-3], None):
        values.delete("x/c.1.0.0") if damage is None else values.write("x/c.1.0.0", damage)
        assert read_folder(where).verify()["shard-00001"] == "damaged" and run(where) == [range(4, 8)]
    with pytest.raises(ValueError, match="seed: 3 -> 4"):
        run(where, {"seed": 4})
    with (
        open_folder(where, CONFIG, TOTAL, SIZE),
        pytest.raises(ValueError, match="written by another process"),
    ):
        open_folder(where, CONFIG, TOTAL, SIZE)
    values.write("lock", b'{"holder": "7 on elsewhere 0", "renewals": 1}')  # of a killed writer
    assert run(where) == []
    with open_folder(where, CONFIG, 11, SIZE, shorter=(CONFIG, TOTAL)) as folder:
        assert folder.missing() == [range(8, 11)]
    values.write("note.txt", b"of the user")
    assert len(run(where, {"seed": 4}, overwrite=True)) == 3
    assert values.read("note.txt") is not None and "lock" not in values.keys()


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_s3 import *
with open_folder(Path({path!r}), CONFIG, TOTAL, SIZE) as folder:
    first = folder.missing()[0]
    folder.write(first, {{"x": np.zeros((4, 2, 3), np.float32), "status_code": np.zeros(4, np.int32)}})
    print("written", flush=True)
    time.sleep(600)
"""


def test_a_writer_on_s3_is_killed_and_the_next_one_goes_on(server, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    path = f"s3://{BUCKET}/killed"
    code = KILLED.format(tests=str(Path(__file__).parent), path=path)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ)) as job:
        assert job.stdout is not None and job.stdout.readline() == b"written\n"
        job.kill()
    assert run(Path(path)) == [range(4, 8), range(8, 10)]


def test_commands_sample_verify_and_export(server, tmp_path):
    url = f"s3://{BUCKET}/sampled"
    assert command(["sample", "--steps", "2", "--per-class", "1", "--chunk", "10", "--output", url]) == 0
    assert command(["verify", url]) == 0 and values_at(Path(url)).read("report.html") is not None
    assert command(["export", url, "--output", str(tmp_path / "pictures")]) == 0
    assert len([*(tmp_path / "pictures").glob("*.png")]) == 10
