"""Fresh processes of a command get one signal each, at random moments from start to end: is every one answered?

    python scripts/stress/signals.py                                # 100 signals to a small `tfg-jax sample`
    python scripts/stress/signals.py --signals 40 -- optimize --reward brightness --rounds 2 --batch 2 --steps 2

Prints a table of answers; exit code 1 if a process that Python had begun did anything but exit with 75 and a line, or
finish. A signal that comes before Python has reached the program ends it as the system does, with nothing begun.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tfg_jax.report.table import text_table
from tfg_jax.signals import SIGNALS

PROGRAM = [sys.executable, "-c", "import sys; from tfg_jax.cli.main import main; sys.exit(main())"]
SMALL = ["sample", "--per-class", "1", "--chunk", "5", "--steps", "2"]
ANSWERED, FINISHED, EARLY = "75 and a line", "finished", "before the program"


def signaled(command: list[str], number: signal.Signals, moment: float) -> str:
    """What became of a process that gets a signal after so many seconds."""
    reached = True
    with subprocess.Popen([*PROGRAM, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as job:
        try:
            job.wait(moment)
        except subprocess.TimeoutExpired:
            reached = listens(job.pid)
            job.send_signal(number)
        assert job.stderr is not None
        said = job.stderr.read().decode(errors="replace")
    # What is finished first is announced, and the command says where it stopped, training by its announcement alone.
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.startswith(("tfg-jax", "stopping"))]
    if job.returncode == 75:
        return ANSWERED if len(lines) in (1, 2) and "Traceback" not in said else f"75, but said {said[-200:]!r}"
    if job.returncode in (0, 3):
        return FINISHED
    if job.returncode == -number and not reached:
        return EARLY
    return f"exit code {job.returncode}: {said[-200:]!r}"


def listens(pid: int) -> bool:
    """Whether a process has a handler of its own for the last of the signals."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (SIGNALS[-1] - 1) & 1)


def main() -> int:
    """Time one run, send the signals, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--first", type=float, help="seconds they are sent in; default the whole run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs="*", default=SMALL, help="of tfg-jax, without --output; after --")
    options = parser.parse_args()
    rng, answers = random.Random(options.seed), Counter()
    with tempfile.TemporaryDirectory() as home:
        run = 0

        def fresh() -> list[str]:
            nonlocal run
            run += 1
            return [*options.command, "--output", str(Path(home) / str(run))]

        since = time.monotonic()
        if options.first is None:
            subprocess.run([*PROGRAM, *fresh()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        whole = options.first or time.monotonic() - since
        for _ in range(options.signals):
            number = rng.choice(SIGNALS)
            answers[number.name, signaled(fresh(), number, rng.uniform(0.0, whole))] += 1
    wrong = sorted({answer for _, answer in answers} - {ANSWERED, FINISHED, EARLY})
    kinds = [ANSWERED, FINISHED, EARLY, *wrong]
    rows = [{"signal": number.name, **{kind: answers[number.name, kind] for kind in kinds}} for number in SIGNALS]
    print(f"{options.signals} signals in the first {whole:.1f} s of tfg-jax {' '.join(options.command)}\n")
    print(text_table(rows))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
