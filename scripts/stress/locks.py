"""Many processes at once want one folder, and are killed at random: has it ever two writers?

    python scripts/stress/locks.py                  # as processes of one host
    python scripts/stress/locks.py --hosts 3        # as hosts that share a file system without kernel locks

Prints what became of the processes; exit code 1 if two of them were ever inside together, or if the folder stayed
locked behind the dead.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tfg_jax import locks

TOOK, REFUSED, TWO = 0, 3, 9
LEASE = 2.0  # seconds, in place of a minute


def work(folder: Path, host: int | None, seconds: float, dies: bool = False, once: bool = False) -> int:
    """One process: takes the lock as often as it can, and looks whether it is alone inside, where it may die."""
    locks.LEASE_SECONDS = LEASE
    if host is not None:
        socket.gethostname = lambda: f"host-{host}"
        locks._kernel_lock = lambda *_: None
    sys.settrace(dawdle)
    inside, end, took = folder / "inside", time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            with locks.lock(folder):
                if inside.exists() and alive(inside.read_text()):
                    return TWO
                inside.write_text(str(os.getpid()))
                time.sleep(random.uniform(0.0, 0.003))
                if dies and random.random() < 0.5:
                    os.kill(os.getpid(), signal.SIGKILL)
                if inside.read_text() != str(os.getpid()):
                    return TWO
                inside.unlink()
                took += 1
        except ValueError:
            time.sleep(0)
        if took and once:
            break
    return TOOK if took else REFUSED


def dawdle(frame: FrameType, event: str, _: object) -> Callable | None:
    """A trace that sleeps at random lines of the lock's code, so that every race has its chance."""
    if "lock" not in frame.f_code.co_filename:
        return None
    if event == "line" and random.random() < 0.05:
        time.sleep(random.uniform(0.0, 0.004))
    return dawdle


def alive(pid: str) -> bool:
    """Whether a process runs; one that was killed may stay as a zombie until its parent asks."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, ValueError):
        return False


def main() -> int:
    """Start, kill and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=240, help="processes in all")
    parser.add_argument("--together", type=int, default=12, help="of them at a time")
    parser.add_argument("--kills", type=float, default=0.7, help="share of them that is killed, most of them inside")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each tries")
    parser.add_argument("--hosts", type=int, default=0, help="so many hosts without kernel locks; 0 is this host")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", nargs=3, metavar=("FOLDER", "HOST", "FATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        folder, host, fate = options.worker
        return work(Path(folder), None if host == "-" else int(host), options.seconds, fate == "dies", fate == "once")

    rng, ends = random.Random(options.seed), Counter()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        running: list[tuple[subprocess.Popen, float]] = []
        for number in range(options.starts + options.together):
            while len(running) >= options.together or (number >= options.starts and running):
                for job, dies in running:
                    if time.monotonic() > dies:
                        job.kill()
                ended = [job for job, _ in running if job.poll() is not None]
                ends.update(job.returncode for job in ended)
                running = [each for each in running if each[0] not in ended]
                time.sleep(0.002)
            if number < options.starts:
                host = str(number % options.hosts) if options.hosts else "-"
                killed = rng.random() < options.kills
                command = [sys.executable, __file__, "--seconds", str(options.seconds), "--worker", home, host]
                command.append("dies" if killed else "lives")
                dies = time.monotonic() + (rng.uniform(0.1, 1.0 + options.seconds) if killed else 120.0)
                running.append((subprocess.Popen(command, stderr=subprocess.DEVNULL), dies))
        since = time.monotonic()
        # As one of the hosts: the last holder may have been killed, and is seen to be dead or has its lease run out.
        last = [sys.executable, __file__, "--seconds", str(3 * LEASE), "--worker", home]
        last += ["0" if options.hosts else "-", "once"]
        free = subprocess.run(last, stderr=subprocess.DEVNULL).returncode == TOOK
        print(f"{'starts':>24}  {options.starts}")
        names = {TOOK: "took the lock", REFUSED: "never got it", TWO: "two inside", -signal.SIGKILL: "killed"}
        for code, count in sorted(ends.items(), key=lambda item: -item[1]):
            print(f"{names.get(code, f'exit code {code}'):>24}  {count}")
        print(f"{'free in the end':>24}  {'yes' if free else 'no'} ({time.monotonic() - since:.1f} s)")
    return int(not free or bool(set(ends) - {TOOK, REFUSED, -signal.SIGKILL}))


if __name__ == "__main__":
    sys.exit(main())
