"""Distances of guided samples to exact ones: every method on every problem, every strength in one program."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from studied import Options

import tfg_jax as tfg
from tfg_jax.runs import study

from .methods import FACTORS, ROWS, Row
from .problems import Problem, problems

STEPS = (20, 50, 200)
EXACT, DIRECTIONS, RESAMPLES = 16384, 64, 40
MAX_FAILED = 0.02
"""A setting that loses a larger share of its samples does not work."""


class Distance:
    """Sliced 2-Wasserstein distance to exact samples, over that of unguided ones: 0 is exact, 1 unguided."""

    def __init__(self, problem: Problem) -> None:
        self.samples = problem.samples
        keys = jax.random.split(jax.random.key(1000), 3)
        directions = np.random.default_rng(0).normal(size=(2, DIRECTIONS))
        self.directions = directions / np.linalg.norm(directions, axis=0)
        exact = np.sort(np.asarray(problem.exact(keys[0], EXACT), np.float64) @ self.directions, axis=0)
        self.exact = exact.reshape(self.samples, -1, DIRECTIONS).mean(axis=1)
        self.unit = 1.0
        self.unit = self(np.asarray(problem.plain(keys[1], self.samples)))
        self.floor = self(np.asarray(problem.exact(keys[2], self.samples)))

    def __call__(self, x: Float[np.ndarray, "n 2"]) -> float:
        """The distance of one set of samples; failed ones, not finite, are left out."""
        x = x[np.isfinite(x).all(axis=1)]
        if len(x) < (1 - MAX_FAILED) * self.samples:
            return float("inf")
        ours = np.sort(x.astype(np.float64) @ self.directions, axis=0)
        ours = ours[np.arange(self.samples) * len(ours) // self.samples]
        return float(np.sqrt(((ours - self.exact) ** 2).mean()) / self.unit)

    def error(self, x: Float[np.ndarray, "n 2"]) -> float:
        """Standard error of the distance, by the bootstrap over our samples."""
        rng = np.random.default_rng(1)
        return float(np.std([self(x[rng.integers(0, len(x), len(x))]) for _ in range(RESAMPLES)]))


def samples(row: Row, problem: Problem, steps: int) -> Float[np.ndarray, "strengths 2 n 2"]:
    """Samples of two seeds at every strength; failed ones are NaN."""
    objective, target = (problem.noisy if row.noisy else problem.objective), problem.target
    if row.gap:
        objective, target = problem.gap
    target = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2 * problem.samples, *jnp.shape(leaf))), target)

    def run(factor: Any) -> tuple[Any, Any]:
        guidance, key = row.of(row.strength(factor, steps), problem), jax.random.key(0)
        if row.sampled:
            out = tfg.sample(
                key, problem.model, objective=objective, target=target, guidance=guidance, lookahead=row.lookahead,
                sampler=tfg.DDIM(steps=steps),
            )  # fmt: skip
        else:
            out = tfg.end_to_end(
                key, problem.model, guidance, objective=objective, target=target, num_samples=2 * problem.samples
            )
        return out.x, out.status.ok

    x, ok = jax.jit(jax.vmap(run))(jnp.array(FACTORS))
    x = np.where(np.asarray(ok)[..., None], np.asarray(x), np.nan)
    return x.reshape(len(FACTORS), 2, problem.samples, 2)


def measure_row(row: Row, problem: Problem, distance: Distance) -> dict[str, Any]:
    """Of every number of steps: distances by strength on the seed that chooses and on the one that is reported."""
    measured: dict[str, Any] = {}
    for steps in STEPS if row.sampled else STEPS[:1]:
        x = samples(row, problem, steps)
        chosen, reported = ([distance(each[seed]) for each in x] for seed in (0, 1))
        errors = [distance.error(each[1]) if np.isfinite(d) else None for each, d in zip(x, reported, strict=True)]
        none = lambda values: [v if np.isfinite(v) else None for v in values]  # noqa: E731
        measured[str(steps)] = {"choosing": none(chosen), "reported": none(reported), "error": errors}
    return measured


class Bench:
    """A problem with its distance, made when the first of its rows is measured."""

    def __init__(self, make: Callable[[], Problem]) -> None:
        self.make = make

    @cached_property
    def distance(self) -> tuple[Problem, Distance]:
        """The problem, and how far samples of it are from exact ones."""
        problem = self.make()
        return problem, Distance(problem)

    def measure(self, row: Row, choice: None, trial: bool) -> dict[str, Any]:
        """All about a method, nothing of one that cannot be used."""
        problem, distance = self.distance
        if not row.applies(problem):
            return {}
        return {
            "problem": problem.name, "text": problem.text, "samples": problem.samples, "method": row.name,
            "floor": distance.floor, "unguided": distance.unit, "steps": measure_row(row, problem, distance),
        }  # fmt: skip


def study_of(options: Options) -> study.Study:
    """Every method on every problem."""
    config, benches = {"steps": STEPS, "factors": FACTORS}, {name: Bench(make) for name, make in problems().items()}
    return study.Study(options.folder, [
        study.Row(f"{name}: {row.name}", name, config, partial(bench.measure, row),
                  labels={"problem": name, "method": row.name})
        for name, bench in benches.items() for row in ROWS
    ])  # fmt: skip
