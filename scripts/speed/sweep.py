"""A sweep of sixteen candidates in one program, against a process for each, as the published code runs it.

python scripts/speed/sweep.py OUT 0.1 0.2 0.4  # what is timed of ours: all of these strengths at once
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timing import ratio_of

from tfg_jax.report import text_table

STRENGTHS = tuple(round(0.05 * 1.3**i, 4) for i in range(16))
MIXTURE = """
import jax.numpy as jnp
import tfg_jax as tfg

data = tfg.analytic.mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.05 * jnp.eye(2)] * 2)
task = tfg.tasks.own_task(
    data.denoiser(tfg.VPCosine()),
    objective=lambda x0, target: -2.0 * jnp.sum((x0 - target) ** 2),
    targets=jnp.array([[1.0, 0.3], [-1.0, 0.3]]),
    evaluate=lambda x, target: {"distance": jnp.linalg.norm(x - target, axis=1)},
    presets={"dps": tfg.DPS(0.5)},
    sampler=tfg.DDIM(steps=20),
)
"""
SAMPLES = 64

NOTE = (
    "A sweep of 16 strengths of DPS, sampled and scored: all in one process and one program, over 16 times a "
    "process for one, as the published code runs it (here `tfg-jax sample`). Both sides find their programs "
    "compiled, in the cache that the command line keeps. 64 points of a mixture at 20 steps: what is shared is "
    "start-up, so a sweep whose sampling or scoring takes longer gains less. Wall time on a machine that does "
    "other work."
)


@dataclass(frozen=True)
class Grid:
    """A strategy: all values of one axis, at once."""

    samples: int

    def propose(self, space: Any, aim: Any, trials: Sequence[Any]) -> list[Any]:
        """One round of them."""
        from tfg_jax.search import Candidate, Proposal

        (axis,) = space.axes
        return [] if trials else [Proposal(Candidate.of({axis.name: value}), self.samples) for value in axis.values]

    def plan(self, space: Any, aim: Any) -> Any:
        """All of it."""
        from tfg_jax.search.strategy import Plan

        return Plan(len(space.axes[0].values), self.samples * len(space.axes[0].values))


def sweep(out: Path, strengths: Sequence[str]) -> None:
    """Ours: the strengths as the trials of one search, each scored."""
    import tfg_jax as tfg
    from tfg_jax.host import keep_programs
    from tfg_jax.search import Aim, Search, Space
    from tfg_jax.search.run import run as run_search

    keep_programs()
    task = tfg.tasks.find_task(str(out.parent / "mixture.py"))
    space = Space.of(task, tfg.DPS(float(strengths[0])), [f"strength={','.join(strengths)}"])
    run_search(Search(space, Aim.of("distance=lower"), Grid(SAMPLES), chunk=160, seeds=1), out, tell=print)


def words_of(folder: Path, strength: object) -> list[str]:
    """Options of a process for one strength."""
    words = ["--task", str(folder / "mixture.py"), "--num-samples", str(SAMPLES), "--chunk", str(SAMPLES)]
    return [*words, "--guidance", "dps", "--strength", str(strength)]


def seconds(command: Sequence[str]) -> np.ndarray:
    """Processor and wall seconds of a process."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.array([used, time.monotonic() - start])


def measure(runs: int) -> list[dict[str, Any]]:
    """The line of ``runs`` sweeps of ours and as many processes of theirs in turn, after one of each that compiles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mixture.py").write_text(MIXTURE)
        ours, theirs = [], []
        for turn, strength in enumerate(np.resize(STRENGTHS[:: max(len(STRENGTHS) // runs, 1)], runs + 1)):
            ours.append(seconds([sys.executable, __file__, str(folder / f"sweep-{turn}"), *map(str, STRENGTHS)]))
            words = [*words_of(folder, strength), "--output", str(folder / f"single-{turn}")]
            theirs.append(seconds([sys.executable, "-m", "tfg_jax.cli.main", "sample", *words]))
    used, all_of_them = np.array(ours[1:]), len(STRENGTHS) * np.array(theirs[1:])
    row = {
        "candidates": "16 of a mixture", "bar": "<= 0.10", "processor time": ratio_of(used[:, 0], all_of_them[:, 0]),
        "wall time": ratio_of(used[:, 1], all_of_them[:, 1]), "ours (s)": round(float(np.median(used[:, 0])), 1),
        "16 processes (s)": round(float(np.median(all_of_them[:, 0])), 1),
    }  # fmt: skip
    print(text_table([row]), flush=True)
    return [row]


if __name__ == "__main__":
    sweep(Path(sys.argv[1]), sys.argv[2:])
