"""Two workers on one output, killed at random moments and started again until all is there: the bytes of one process.

python scripts/stress/workers.py --kills 100                  # a local folder
python scripts/stress/workers.py --kills 20 --url             # the same by the calls of an object store
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tfg_jax.runs import lease
from tfg_jax.runs.store import open_folder, read_folder
from tfg_jax.runs.values import UNFINISHED
from tfg_jax.runs.workers import parse_worker

TOTAL, SIZE = 2000, 4


def fill(path: Path, worker: str | None) -> None:
    """What a sampling process does, without sampling."""
    lease.LEASE_SECONDS = 1.0
    with open_folder(path, {"seed": 0}, TOTAL, SIZE, worker=parse_worker(worker)) as folder:
        for indices in folder.missing():
            x = np.stack([np.random.default_rng([0, i]).normal(size=(8, 8, 1)) for i in indices]).astype(np.float32)
            folder.write(indices, {"x": x, "target": np.asarray(indices), "status_code": np.zeros(len(x), np.int32)})


def start(path: Path, worker: str) -> subprocess.Popen[str]:
    """A worker, in a process of its own."""
    command = [sys.executable, __file__, "--fill", str(path), "--worker", worker]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(path: Path) -> dict[str, bytes]:
    """Every file by its name, but what TensorStore's own file system leaves of a killed write."""
    files = [file for file in path.rglob("*") if file.is_file() and not UNFINISHED.fullmatch(file.name)]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--url", action="store_true")
    parser.add_argument("--fill", type=Path)
    parser.add_argument("--worker")
    options = parser.parse_args()
    if options.fill:
        print("go", flush=True)
        fill(options.fill, options.worker)
        return 0
    rng, kills, complaints = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as home:
        whole, out = Path(home) / "whole", Path(home) / "run"
        where = Path(f"file://{out}") if options.url else out
        fill(whole, None)
        while kills < options.kills:
            jobs = [start(where, f"{i}/2") for i in range(2)]
            for job in jobs:
                assert job.stdout is not None and job.stdout.readline() == "go\n"
            time.sleep(rng.uniform(0.0, 2.5 if options.url else 0.5))
            for job in jobs:
                kills += job.poll() is None
                job.kill()
                complaints += any("Error" in line for line in job.communicate()[1].splitlines())
            if (out / "manifest.json").exists() and not read_folder(
                where
            ).missing():  # done before enough kills: lose a part and go on
                for number in rng.sample(range(TOTAL // SIZE), 200):
                    (out / f"shard-{number:05d}.sha256").unlink()
        fill(where, None)
        same = contents(out) == contents(whole)
    print(f"{kills} kills, {complaints} processes that complained; {'the same bytes' if same else 'OTHER BYTES'}")
    return 0 if same and not complaints else 1


if __name__ == "__main__":
    sys.exit(main())
