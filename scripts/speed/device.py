"""One prepared run on an accelerator: steps a second, share of its peak, bfloat16 against float32, batches, and a scan
against diffrax. It stops beginning new cells in time to end below ten minutes."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from timing import interleaved, ratio_of, seconds_of

import tfg_jax as tfg
from speed.lookaheads import full_gradient
from speed.scale import counted, task_of
from tfg_jax.runs.run import Run
from tfg_jax.tasks import preset

STEPS, LATEST = 10, 420.0
"""Steps of a timed run, and the second after which no further cell begins."""
BATCHES = {"cpu": (2, 4), "": (16, 128, 1024)}
"""By JAX's name of the platform, the others by ""."""
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "v5 lite": 197e12, "v5": 459e12, "v6": 918e12}
"""Published dense bfloat16 operations a second, by a part of the device's name; the first that fits."""

Tables = dict[str, list[dict[str, Any]]]


def measure(runs: int) -> Tables:
    """Tables by what they tell."""
    device, begun = jax.devices()[0], time.monotonic()
    batches = BATCHES.get(device.platform, BATCHES[""])
    peak = next((each for name, each in PEAKS.items() if name in device.device_kind), None)
    rows = []
    for method in ("unguided", "dps", "tfg"):
        for batch in batches:
            if time.monotonic() - begun > LATEST:
                rows.append({"what": f"{method}, batch {batch}", "float32 (samples x steps / s)": "out of time"})
                continue
            rows.append(cell(None if method == "unguided" else preset(method), method, batch, runs, peak))
            print(rows[-1], flush=True)
    return {
        f"The shipped UNet, {STEPS} steps, by batch": rows,
        "Gradients through 16 Heun steps": [against_diffrax(batches[0], runs)],
    }


def cell(method: Any, name: str, batch: int, runs: int, peak: float | None) -> dict[str, Any]:
    """One method at one batch, in both precisions, which take turns."""
    task, key = task_of(STEPS), jax.random.key(0)
    low = dataclasses.replace(task, model=task.model.astype("bfloat16"))  # type: ignore[type-var]
    targets = task.targets(batch)
    programs: dict[str, Any] = {
        word: lambda each=each: each.sample(key, targets, method).x
        for word, each in {"float32": task, "bfloat16": low}.items()
    }
    taken = {
        word: np.asarray(each)
        for word, each in interleaved(programs, runs, lambda run: seconds_of(run, time.perf_counter)).items()
    }
    work = counted(Run(task_of(1), method, batch, chunk=batch))[0] * STEPS
    row: dict[str, Any] = {"what": f"{name}, batch {batch}"}
    for word, each in taken.items():
        row[f"{word} (samples x steps / s)"] = round(batch * STEPS / float(np.median(each)), 1)
    row["bfloat16 / float32 seconds"] = ratio_of(taken["bfloat16"], taken["float32"])
    rate = work / float(np.median(taken["bfloat16"]))
    row["TFLOP/s in bfloat16"] = round(rate / 1e12, 3)
    return row if peak is None else row | {"share of the peak": round(rate / peak, 3)}


def against_diffrax(batch: int, runs: int) -> dict[str, Any]:
    """The library's scan over diffrax with recursive checkpoints."""
    import diffrax

    model = tfg.load("fashion-mnist")
    x = jax.random.normal(jax.random.key(0), (batch, *model.shape))
    solvers: dict[str, Any] = {"scan": "heun", "diffrax": diffrax.Heun()}
    programs = {
        word: lambda gradient=full_gradient(model, tfg.TruncatedSolve(1.0, 16, solver)): gradient(x)
        for word, solver in solvers.items()
    }
    taken = interleaved(programs, runs, lambda run: seconds_of(run, time.perf_counter))
    return {"what": f"scan over diffrax, batch {batch}", "seconds": ratio_of(taken["scan"], taken["diffrax"])}
