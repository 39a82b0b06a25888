"""Sample folders on a real S3 server on loopback, and their arrays by the readers of others. Needs, beside the library,

    pip install 'moto[server,s3]' zarr xarray          # 290 MB and 150 MB, which is why no test installs them
    python scripts/stress/s3.py

Starts moto's server on a free port, writes a folder there with two workers, damages it, resumes, extends and overwrites
it, takes its lock over, samples with the command line, and ends the server. The same folder, local, is then opened by
zarr-python and xarray.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tfg_jax.cli.main import main as command
from tfg_jax.runs import lease
from tfg_jax.runs.store import open_folder, read_folder
from tfg_jax.runs.values import values_at
from tfg_jax.runs.workers import Worker

CONFIG, TOTAL, SIZE, BUCKET = {"seed": 3}, 10, 4, "samples"


@contextmanager
def server() -> Iterator[str]:
    """The address of an empty S3, with a bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        job.terminate()
        job.wait()


def run(path: Path, config: dict = CONFIG, total: int = TOTAL, **options) -> list[range]:
    """Fill a folder; returns the ranges that were computed."""
    with open_folder(path, config, total, SIZE, **options) as folder:
        todo = folder.missing()
        for indices in todo:
            x = np.stack([np.random.default_rng([3, i]).normal(size=(2, 3)) for i in indices]).astype(np.float32)
            folder.write(indices, {"x": x, "status_code": np.zeros(len(indices), np.int32)})
    return todo


def check(name: str, holds: bool) -> None:
    """Say whether a promise holds; leave with code 1 if not."""
    print(f"{'ok' if holds else 'FAILED':<7} {name}", flush=True)
    if not holds:
        sys.exit(1)


def promises(local: Path) -> None:
    """On S3 as in a local folder."""
    where = Path(f"s3://{BUCKET}/deep/run")
    values, begun = values_at(where), time.monotonic()
    with open_folder(where, CONFIG, TOTAL, SIZE, worker=Worker(0, 2)) as folder:
        check("a worker has its shards", folder.missing() == [range(0, 4), range(8, 10)])
    check("two workers fill a folder", len(run(where, worker=Worker(1, 2))) == 1 and len(run(where)) == 2)
    run(local)
    files = {f.relative_to(local).as_posix(): f.read_bytes() for f in local.rglob("*") if f.is_file()}
    check("objects are the files of a local folder", {key: values.read(key) for key in values.keys()} == files)
    print(f"        in {time.monotonic() - begun:.1f} s")
    check("a finished folder is not computed again", run(where) == [])
    for damage, data in (("truncated", files["x/c.1.0.0"][:-3]), ("missing", None)):
        values.delete("x/c.1.0.0") if data is None else values.write("x/c.1.0.0", data)
        check(f"a {damage} chunk is made again", run(where) == [range(4, 8)])
    try:
        run(where, {"seed": 4})
        check("another configuration is refused", False)
    except ValueError as error:
        check("another configuration is refused", "seed: 3 -> 4" in str(error))
    with open_folder(where, CONFIG, TOTAL, SIZE):
        try:
            open_folder(where, CONFIG, TOTAL, SIZE)
            check("a living writer is left alone", False)
        except ValueError as error:
            check("a living writer is left alone", "written by another process" in str(error))
    values.write("lock", b'{"holder": "7 on elsewhere 0", "renewals": 1}')
    check("a dead one is not", run(where) == [])
    with open_folder(where, CONFIG, 11, SIZE, shorter=(CONFIG, TOTAL)) as folder:
        check("a folder goes on to more samples", folder.missing() == [range(8, 11)])
    values.write("note.txt", b"of the user")
    check("overwriting begins again", len(run(where, {"seed": 4}, overwrite=True)) == 3)
    check("and deletes only its own", values.read("note.txt") is not None and "lock" not in values.keys())


def command_line() -> None:
    """Sampled to a URL, verified and exported."""
    url = f"s3://{BUCKET}/sampled"
    small = ["--steps", "2", "--per-class", "1", "--chunk", "4", "--classes", "bag", "coat"]
    check("tfg-jax sample --output s3://", command(["sample", *small, "--output", url]) == 0)
    check("tfg-jax verify", command(["verify", url]) == 0)
    check("the report is there", values_at(url).read("report.html") is not None)
    with tempfile.TemporaryDirectory() as folder:
        check("tfg-jax export", command(["export", url, "--output", f"{folder}/pictures"]) == 0)


def others(local: Path) -> None:
    """zarr-python and xarray see the same numbers."""
    import warnings

    import xarray  # type: ignore
    import zarr  # type: ignore

    warnings.simplefilter("error")
    arrays, group, data = read_folder(local).read_all(), zarr.open_group(str(local), mode="r"), xarray.open_zarr(local)
    check("zarr-python lists the arrays", set(group.array_keys()) == set(arrays))
    for name, array in arrays.items():
        same = np.array_equal(np.asarray(group[name]), array) and np.array_equal(data[name].values, array)
        check(f"zarr-python and xarray read {name}", same and data[name].dims[0] == "sample")


def main() -> None:
    lease.LEASE_SECONDS = 2.0
    secrets = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true"}
    with tempfile.TemporaryDirectory() as folder, server() as address:
        os.environ |= {**secrets, "AWS_ENDPOINT_URL": address}
        promises(Path(folder) / "run")
        command_line()
        others(Path(folder) / "run")


if __name__ == "__main__":
    main()
