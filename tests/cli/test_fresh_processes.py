"""Commands in processes of their own, as users start them: again, resumed after a kill, and signalled on the way."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts" / "stress"


def test_optimize_runs_again_and_resumes(weights):
    """Each process compiles its first program under a trace, where tests that share a process never look."""
    command = [str(SCRIPTS / "commands.py"), "--only", "optimize", "--weights", str(weights)]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_signals_on_the_way_are_answered(tiny):
    command = [str(SCRIPTS / "signals.py"), "--signals", "4", "--first", "3", "--", "sample", *tiny]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
