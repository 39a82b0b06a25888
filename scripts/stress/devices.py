"""A run by forced devices, by processes on loopback and by a host that is killed: the samples of one device.

python scripts/stress/devices.py                        # all of it, some minutes
python scripts/stress/devices.py devices hosts kill nan disk      # parts of it; disk needs to mount a small tmpfs
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tfg_jax.runs.store import read_folder

TASK = '''
import jax, jax.numpy as jnp, numpy as np
import tfg_jax as tfg

weights = [np.random.default_rng(i).normal(size=(16, 16)).astype(np.float32) / 4 for i in range(2)]


def network(params, x, t, cond):
    return jnp.tanh(x @ params[0]) @ params[1]


def near(x0, target):
    return -jnp.sum((x0 - target) ** 2)


def broken(x0, target):
    """Not a number for one sample alone, whose target says so."""
    return near(x0, target) * jnp.where(target == 12, jnp.nan, 1.0)


def task_of(objective):
    model = tfg.from_fn(network, weights, tfg.VPCosine(), prediction="v", shape=(16,))
    return tfg.tasks.own_task(
        model, objective=objective, targets=jnp.arange(24.0), sampler=tfg.DDIM(steps=4),
        presets={"tfg": tfg.TFG(rho=0.2, mu=0.05, n_recur=2)},
    )


task, bad = task_of(near), task_of(broken)
'''
N, CHUNK = 96, 8


def command(task: Path, out: Path, *more: str, name: str = "task") -> list[str]:
    """Of the sampling process; one that JAX's runtime does not name takes the machine's cores for one device."""
    asked = ["--task", f"{task}:{name}", "--num-samples", str(N), "--chunk", str(CHUNK), "--output", str(out)]
    return [sys.executable, "-m", "tfg_jax.cli.main", "sample", *asked, *more]


def start(words: Sequence[str], devices: int = 1, **settings: str) -> subprocess.Popen[str]:
    """A process with so many forced devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": os.getcwd(), **settings}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def host(words: Sequence[str], i: int, count: int, address: str, devices: int = 1) -> subprocess.Popen[str]:
    """Process i of some that meet at an address."""
    settings = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(i)}
    return start([*words, "--distributed"], devices, **settings)


def hosts(words: Sequence[str], count: int, devices: int = 1) -> list[subprocess.Popen[str]]:
    """Processes that meet on loopback."""
    address = loopback()
    return [host(words, i, count, address, devices) for i in range(count)]


def loopback() -> str:
    """An address that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def ended(jobs: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Their exit codes; what a failed one said is shown."""
    codes = []
    for job in jobs:
        _, said = job.communicate(timeout=600)
        codes.append(job.returncode)
        if job.returncode not in (0, 3, 75):
            print("\n".join(said.splitlines()[-6:]), file=sys.stderr)
    return codes


def compared(what: str, out: Path, whole: Path, codes: Sequence[int], expected: Sequence[int]) -> bool:
    """Say whether a folder holds the samples of another, and to which last digit."""
    one, other = read_folder(whole).read_all(), read_folder(out).read_all()
    equal = all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
    off = float(np.nanmax(np.abs(one["x"] - other["x"])))
    good = [*codes] == [*expected] and off < 1e-5
    bits = "bit for bit" if equal else f"to {off:.1e}"
    print(f"{'ok ' if good else 'BAD'} {what}: exit codes {codes}, the samples of one device {bits}", flush=True)
    return good


def of_devices(task: Path, home: Path, whole: Path) -> Iterator[bool]:
    """1, 2, 4 and 8 forced devices."""
    for count in (1, 2, 4, 8):
        out = home / f"devices-{count}"
        yield compared(f"{count} devices", out, whole, ended([start(command(task, out), count)]), [0])


def of_hosts(task: Path, home: Path, whole: Path) -> Iterator[bool]:
    """2 and 4 processes, and 2 of two devices each."""
    for count, devices in ((2, 1), (4, 1), (2, 2)):
        out = home / f"hosts-{count}-{devices}"
        codes = ended(hosts(command(task, out), count, devices))
        yield compared(f"{count} processes of {devices} device(s)", out, whole, codes, [0] * count)
        yield (out / "metrics.json").exists()


def of_killed(task: Path, home: Path, whole: Path) -> Iterator[bool]:
    """One of two hosts is killed and started again; SIGTERM to both, and then four go on."""
    out = home / "killed"
    words, address = command(task, out), loopback()
    jobs = [host(words, i, 2, address) for i in range(2)]
    wait_for(out)
    jobs[1].kill()
    jobs[1].communicate()
    again = host(words, 1, 2, address)
    yield compared("host 1 of 2 killed and started again", out, whole, ended([jobs[0], again]), [0, 0])
    out = home / "stopped"
    jobs = hosts(command(task, out), 2)
    wait_for(out)
    for job in jobs:
        job.send_signal(signal.SIGTERM)
    codes = ended(jobs)
    left = len(read_folder(out).missing())
    print(f"    SIGTERM to both: exit codes {codes}, {left} of {N // CHUNK} shards are left")
    yield codes == [75, 75]
    yield compared("then 4 hosts", out, whole, ended(hosts(command(task, out), 4)), [0] * 4)


def of_nan(task: Path, home: Path, whole: Path) -> Iterator[bool]:
    """A sample that is no number is named by its index in the whole run, whoever computed it."""
    for job in hosts(command(task, home / "nan", name="bad"), 2, 2):
        _, said = job.communicate(timeout=600)
        if job.returncode:
            named = "4 of 96 samples failed (#12, #36, #60, #84)" in said
            print(f"{'ok ' if named else 'BAD'} not a number: {said.splitlines()[-1]}")
            yield named and job.returncode == 3


def of_disk(task: Path, home: Path, whole: Path) -> Iterator[bool]:
    """A disk of 200 kB is full: exit code 75, and the same command goes on once there is room."""
    with small_disk(home / "small", "200k") as small:
        (ballast := small / "ballast").write_bytes(bytes(100_000))
        out = small / "run"
        job = start(command(task, out))
        _, said = job.communicate(timeout=600)
        left = read_folder(out).missing()
        good = job.returncode == 75 and "make room and resume" in said and 0 < len(left)
        print(f"{'ok ' if good else 'BAD'} full disk: exit code {job.returncode}, {len(left)} shards are left; "
              f"{said.splitlines()[-1]}")  # fmt: skip
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        yield good
        yield compared("with room again", out, whole, ended([start(command(task, out))]), [0])


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A tmpfs that is there for a while; needs the right to mount."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def wait_for(out: Path) -> None:
    """Until the first shard is there."""
    while not [*out.glob("shard-*")]:
        time.sleep(0.02)


PARTS = {"devices": of_devices, "hosts": of_hosts, "kill": of_killed, "nan": of_nan, "disk": of_disk}


def main() -> int:
    wanted = sys.argv[1:] or [*PARTS]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (task := home / "task.py").write_text(TASK)
        whole = home / "whole"
        assert ended([start(command(task, whole))]) == [0]
        good = [each for part in wanted for each in PARTS[part](task, home, whole)]
    print(f"{sum(good)} of {len(good)} hold")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
