"""Sampling at scale on this machine: forced devices and chunks, memory, the share of writing, start-up, and what a cost
model says of all that.

Devices are forced in processes of their own, as JAX fixes their number when it starts. Ratios are within one process,
of runs that take turns.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from timing import interleaved, ratio_of

from tfg_jax.runs import mesh as meshes
from tfg_jax.runs.run import Run, Writer, run_chunked
from tfg_jax.tasks import preset
from tfg_jax.tasks.base import Task
from tfg_jax.tasks.fashion_mnist import load_label_task

DEVICES, CHUNKS, STEPS = (1, 2, 4), (8, 16, 32), 2
BATCH = 16
TPUS = {"TPU v5e": (197e12, 819e9), "TPU v5p": (459e12, 2765e9), "TPU v6e": (918e12, 1640e9)}
"""Published peaks of a chip: bfloat16 operations a second, and bytes a second to its memory."""
MOST_USED = 0.4
"""Share of the peak that convolutions of this size are taken to reach."""

Tables = dict[str, list[dict[str, Any]]]


def task_of(steps: int = STEPS) -> Task:
    """Labels by DPS on the shipped model."""
    return load_label_task(steps=steps)


def measure(runs: int) -> Tables:
    """Tables by what they tell."""
    rows = [json.loads(forced(count, runs)) for count in DEVICES]
    by_devices, by_chunk = [row["devices"] for row in rows], rows[0]["chunks"]
    return {
        "A chunk of 16 over all forced devices, processor time over that of one device": by_devices,
        "Chunks on one device, seconds of a sample over those of chunks of 16": by_chunk,
        "Writing behind the computation, 50 steps of the shipped model": writing(),
        "Start-up of `tfg-jax sample`, four samples of two steps": startup(),
        "A step of a sample, predicted from its operations at the rate of the unguided one": predicted(runs),
    }  # fmt: skip


def forced(count: int, runs: int) -> str:
    """What a process with so many devices says."""
    flags = f"--xla_force_host_platform_device_count={count}"
    code = f"from speed.scale import of_devices; of_devices({runs})"
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.getcwd()])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path},
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.splitlines()[-1]


def of_devices(runs: int) -> None:
    """The part of `measure` that depends on how many devices there are, as JSON."""
    task, method, clock = task_of(), preset("dps"), time.process_time

    def program(chunk: int, mesh: Any) -> Any:
        targets = task.targets(chunk)
        return lambda: [x for _, x in run_chunked(task, jax.random.key(0), targets, method, chunk=chunk, mesh=mesh)]

    mesh = meshes.local_mesh()
    programs = {"all": program(16, mesh), "one": program(16, None)}
    if mesh is None:
        programs |= {f"chunk {chunk}": program(chunk, None) for chunk in CHUNKS}

    def seconds(run: Any) -> float:
        since = clock()
        run()
        return clock() - since

    taken = interleaved(programs, runs, seconds)
    run = Run(task, method, 16, chunk=16)
    rate = 16 / float(np.median(taken["all"]))
    found: dict[str, Any] = {"devices": {
        "devices": len(jax.devices()), "seconds / one device": ratio_of(taken["all"], taken["one"]),
        "samples a second of processor": round(rate, 2), "MB of a device": round(run.memory() or 0.0, 1),
        "MB a sample": round((run.memory() or 0.0) / (16 / len(jax.devices())), 2),
    }}  # fmt: skip
    found["chunks"] = [
        {"chunk": chunk, "ratio": ratio_of(np.asarray(taken[f"chunk {chunk}"]) / chunk, np.asarray(taken["one"]) / 16),
         "MB": round(dataclasses.replace(run, chunk=chunk).memory() or 0.0, 1)}
        for chunk in CHUNKS if f"chunk {chunk}" in taken
    ]  # fmt: skip
    print(json.dumps(found))


class Timed(Writer):
    """Seconds that storing took."""

    spent = 0.0

    def write(self, chunk: Any) -> range:
        since = time.thread_time()
        indices = super().write(chunk)
        type(self).spent += time.thread_time() - since
        return indices


def writing() -> list[dict[str, Any]]:
    """Processor time of the thread that writes, over that of the whole process, at the command's own chunk."""
    from tfg_jax.runs import run as runs

    task, former, rows = task_of(50), runs.Writer, []
    for name, method in (("unguided", None), ("dps", preset("dps"))):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(task, method, 20, chunk=20)
            run.samples(Path(folder) / "compiled")
            Timed.spent, runs.Writer = 0.0, Timed  # type: ignore[misc]
            since = time.process_time()
            more = dataclasses.replace(run, n=60)
            with more.open(Path(folder) / "run") as opened:
                more.compute(opened)
            share = Timed.spent / (time.process_time() - since)
            runs.Writer = former  # type: ignore[misc]
        rows.append({"what": name, "share": f"{100 * share:.2f} %", "bar": "<= 5 %"})
        print(rows[-1], flush=True)
    return rows


def startup() -> list[dict[str, Any]]:
    """Processor time of the command without programs kept, with them, and with all samples on disk."""
    rows = []
    with tempfile.TemporaryDirectory() as home:
        kept = {"JAX_COMPILATION_CACHE_DIR": f"{home}/xla"}
        for what, name, settings in (
            ("nothing kept", "a", {"JAX_COMPILATION_CACHE_DIR": "", "TFG_JAX_CACHE": "off"}), ("first run", "b", kept),
            ("programs kept", "c", kept), ("samples on disk", "c", kept),
        ):  # fmt: skip
            words = ["--method", "dps", "--classes", "0", "--per-class", "4", "--steps", "2", "--chunk", "4"]
            command = [sys.executable, "-m", "tfg_jax.cli.main", "sample", *words, "--output", f"{home}/{name}"]
            before = os.times()
            subprocess.run(command, env=os.environ | settings, check=True, capture_output=True)
            after = os.times()
            spent = after.children_user - before.children_user + after.children_system - before.children_system
            rows.append({"what": what, "seconds": round(spent, 1)})
            print(rows[-1], flush=True)
    return [row | {"of nothing kept": round(row["seconds"] / rows[0]["seconds"], 2)} for row in rows]


def counted(run: Run) -> tuple[float, float]:
    """Operations and bytes of the compiled program of a chunk; XLA counts the body of its loop over steps once."""
    program, *arguments = run.program()
    cost = jax.jit(program).lower(*arguments).compile().cost_analysis() or {}
    return float(cost.get("flops", np.nan)), float(cost.get("bytes accessed", np.nan))


def predicted(runs: int) -> list[dict[str, Any]]:
    """Seconds of a step of a sample: its operations, at the rate that the unguided step reaches here."""
    task, key = task_of(1), jax.random.key(0)
    methods = {"unguided": None, "dps": preset("dps"), "tfg": preset("tfg")}
    counts = {name: counted(Run(task, method, BATCH, chunk=BATCH)) for name, method in methods.items()}
    targets, matrix = task.targets(BATCH), jax.random.normal(key, (1024, 1024))
    product = jax.jit(lambda a: a @ a)
    programs: dict[str, Any] = {
        name: lambda method=method: task.sample(key, targets, method).x for name, method in methods.items()
    }
    taken = {k: float(np.median(v)) for k, v in interleaved({**programs, "a": lambda: product(matrix)}, runs).items()}
    rate = counts["unguided"][0] / taken["unguided"]
    rows = []
    for name, (work, moved) in counts.items():
        row = {"what": f"{name}, a step of a sample", "MFLOP": round(work / BATCH / 1e6, 1),
               "MB": round(moved / BATCH / 1e6, 1), "measured (ms)": round(1e3 * taken[name] / BATCH, 2),
               "predicted / measured": round(work / rate / taken[name], 2),
               "share of a product's rate": round(work / taken[name] / (2 * 1024**3 / taken["a"]), 2)}  # fmt: skip
        for chip, (peak, memory) in TPUS.items():
            seconds = max(work / (MOST_USED * peak), moved / memory) / BATCH
            row[f"{chip}, 50 steps (prediction, samples / s)"] = f"{1.0 / (50 * seconds):,.0f}"
        rows.append(row)
        print(row, flush=True)
    return rows
