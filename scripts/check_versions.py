"""Runs a short set of tests on the lowest versions that pyproject.toml allows, and on the newest there are.

    python scripts/check_versions.py                             # both, on this Python
    python scripts/check_versions.py newest --python python3.13

Each in an environment of its own below ``--environments``, kept for the next call.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
# What versions have broken: imports, the sampling loop and its numbers, files, and a command from end to end.
TESTS = (
    "tests/test_import.py", "tests/test_golden.py", "tests/test_config.py", "tests/test_shards.py",
    "tests/test_noise.py", "tests/test_locks.py", "tests/training/test_loop.py", "tests/horizon/test_horizon_values.py",
    "tests/endtoend/test_end_to_end.py", "tests/optimize/test_iterated.py", "tests/cli/test_cli_sample.py",
)  # fmt: skip
TOOLS = ("beartype", "pytest", "pytest-xdist")


def lowest(requirement: str) -> str:
    """The requirement with its lower bound as the only version: "jax>=0.10" is "jax==0.10.*"."""
    name, bound = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement.replace(" ", "")).groups()  # type: ignore[union-attr]
    return f"{name}=={bound if bound.count('.') > 1 else f'{bound}.0'}"


def check(which: str, python: str, home: Path, tests: list[str]) -> int:
    """Install, say the versions, test; returns pytest's exit code."""
    wanted = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    wanted = [lowest(requirement) for requirement in wanted] if which == "lowest" else wanted
    wanted += ["jaxlib==" + wanted[0].split("==")[1]] if which == "lowest" else []
    if not (home / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(home)], check=True)
    run = [str(home / "bin" / "python"), "-m"]
    pip = [*run, "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-compile", "--upgrade", *wanted, *TOOLS], check=True)
    subprocess.run([*run, "pip", "--disable-pip-version-check", "freeze"], check=True)
    command = [*run, "pytest", "-q", "-n", "2", "--dist", "loadfile", *tests]
    return subprocess.run(command, cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="?", choices=("lowest", "newest", "both"), default="both")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    parser.add_argument("--environments", type=Path, default=REPO / "build" / "versions")
    parser.add_argument("--tests", nargs="*", default=list(TESTS))
    given = parser.parse_args()
    names = ("lowest", "newest") if given.which == "both" else (given.which,)
    codes = {name: check(name, given.python, given.environments / name, given.tests) for name in names}
    print(", ".join(f"{name} versions: {'passed' if code == 0 else 'FAILED'}" for name, code in codes.items()))
    return max(codes.values())


if __name__ == "__main__":
    sys.exit(main())
