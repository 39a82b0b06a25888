"""Guided molecules against what a step cannot do without, and what padding, atom counts and batches cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from timing import interleaved, ratio_of

import tfg_jax as tfg
from speed.floors import steps_of
from tfg_jax.domains.molecules import centered
from tfg_jax.tasks.base import Task
from tfg_jax.tasks.qm9 import load_molecule_task
from tfg_jax.tasks.qm9.targets import columns
from tfg_jax.tasks.qm9.task import MoleculeTask, resized

PROPERTY, ROWS, BATCH, REQUESTS = "alpha", 19, 8, 64
GUIDANCE = tfg.DPS(0.1, normalize="residual")
COUNTS, BATCHES = (9, 15, 19, 23, 29), (4, 8, 16, 32, 64)

Tables = dict[str, list[dict[str, Any]]]


def measure(runs: int, steps: int) -> Tables:
    """Tables by what they tell."""
    task = dataclasses.replace(load_molecule_task([PROPERTY]), sampler=tfg.DDIM(steps))
    return {
        "Public calls over a jitted scan written by hand": overheads(task, runs, steps),
        f"{REQUESTS} molecules as QM9 has them, batches of {BATCH}, over arrays of 29 rows": buckets(task, runs),
        f"Seconds of {BATCH} molecules by atom count, over those of 29 atoms": against(
            {f"{n} atoms": sampled(task, n, BATCH) for n in COUNTS}, "29 atoms", runs
        ),
        f"Seconds of a molecule of {ROWS} atoms by batch, over batches of 8": against(
            {f"batch {n}": sampled(task, ROWS, n) for n in BATCHES}, "batch 8", runs, dict(zip(
                [f"batch {n}" for n in BATCHES], BATCHES, strict=True))
        ),
    }  # fmt: skip


def overheads(task: MoleculeTask, runs: int, steps: int) -> list[dict[str, Any]]:
    """Unguided and guided runs over their floors."""
    rows = []
    for batch, guidance in ((BATCH, None), (BATCH, GUIDANCE), (4 * BATCH, GUIDANCE)):
        key, ours = jax.random.key(0), sampled(task, ROWS, batch, guidance)
        by_hand = floor(task, ROWS, batch, guidance)
        seconds = interleaved({"ours": ours, "floor": lambda key=key, run=by_hand: run(key)}, runs)
        words = f"{'unguided' if guidance is None else 'dps'}, batch {batch}, {ROWS} atoms, {steps} steps"
        rows.append({"what": words, "bar": "<= 1.10", "ratio": ratio_of(seconds["ours"], seconds["floor"])})
        print(rows[-1], flush=True)
    return rows


def buckets(task: MoleculeTask, runs: int) -> list[dict[str, Any]]:
    """The library's own arrays, of the batch's largest molecule, in the order drawn and sorted by size."""
    drawn = task.targets(REQUESTS)
    by_size = dataclasses.replace(task, by_size=True).targets(REQUESTS)

    def run(sample: Callable[..., Any], targets: np.ndarray) -> Callable[[], list[Array]]:
        parts = [targets[i : i + BATCH] for i in range(0, REQUESTS, BATCH)]
        return lambda: [sample(task, jax.random.key(0), part, GUIDANCE).x for part in parts]

    programs = {"29 rows": run(Task.sample, drawn), "the batch's rows, as drawn": run(MoleculeTask.sample, drawn),
                "the batch's rows, sorted by atom count": run(MoleculeTask.sample, by_size)}  # fmt: skip
    return against(programs, "29 rows", runs)


def against(
    programs: dict[str, Callable[[], Any]], base: str, runs: int, counts: dict[str, int] | None = None
) -> list[dict[str, Any]]:
    """Programs over one of them, by a sample if they differ in how many they compute."""
    seconds = {
        name: np.asarray(each) / (counts or {}).get(name, 1) for name, each in interleaved(programs, runs).items()
    }
    rows = [{"what": name, "ratio": ratio_of(each, seconds[base])} for name, each in seconds.items() if name != base]
    print(rows, flush=True)
    return rows


def asked(task: MoleculeTask, rows: int, batch: int) -> dict[str, Any]:
    """Molecules of so many atoms each, with values of the data."""
    values = jnp.asarray(task.targets(batch))[:, 1:]
    counts = jnp.full(batch, rows, jnp.int32)
    return {"target": task.objective(None).operator.scaled(values), "cond": counts}


def sampled(task: MoleculeTask, rows: int, batch: int, guidance: Any = GUIDANCE) -> Callable[[], Array]:
    """The library's own program."""
    model, request = resized(task.model, rows), asked(task, rows, batch)
    if guidance is None:
        request = {"cond": request["cond"]}
    else:
        request |= {"objective": task.objective(None), "guidance": guidance}
    return lambda: tfg.sample(jax.random.key(0), model, num_samples=batch, sampler=task.sampler, **request).x


def floor(task: MoleculeTask, rows: int, batch: int, guidance: Any) -> Callable[[Array], Array]:
    """One jitted scan: the networks with their own batch axis, one pullback, DDIM's arithmetic and noise."""
    model, at, request = resized(task.model, rows), steps_of(task.model, task.sampler), asked(task, rows, batch)
    egnn, guide, column = model.apply.graphdef, task.guide.graphdef, columns([PROPERTY])[0]
    shape = (batch, *model.shape)

    @jax.jit
    def program(key: Array, weights: Any, guide_weights: Any, target: Array, counts: Array) -> Array:
        mask = jnp.arange(rows) < counts[:, None]

        def noise(index: Any) -> Array:
            z = jax.random.normal(jax.random.fold_in(key, index), shape)
            return jnp.concatenate([centered(z[..., :3], mask[..., None]), z[..., 3:] * mask[..., None]], -1)

        def denoise(x: Array, c: dict) -> Array:
            log_snr = jnp.full(batch, 2.0 * (jnp.log(c["alpha"]) - jnp.log(c["sigma"])))
            return jnp.concatenate(nnx.merge(egnn, weights)(x[..., :3], x[..., 3:], mask, log_snr), -1)

        def residual(x0: Array) -> Array:
            values = nnx.merge(guide, guide_weights)(x0[..., :3], x0[..., 3:], mask, jnp.full(batch, jnp.inf))
            return target[:, 0] - values[:, column]

        def body(x: Array, c: dict) -> tuple[Array, None]:
            shift: Any = 0.0
            if guidance is None:
                x0 = denoise(x, c)
            else:
                x0, pull = jax.vjp(lambda x: denoise(x, c), x)
                left, back = jax.vjp(residual, x0)
                gradient = pull(back(-left)[0])[0]
                shift = guidance.strength * gradient / jnp.maximum(jnp.abs(left), 1e-6)[:, None, None]
            eps = (x - c["alpha"] * x0) / c["sigma"]
            return c["alpha_next"] * x0 + c["along"] * eps + c["std"] * noise(c["index"]) + shift, None

        return jax.lax.scan(body, noise(task.sampler.steps), at)[0]

    return lambda key: program(key, model.params, task.guide.params, request["target"], request["cond"])
