"""Why a longer horizon pays or does not: its gradient against that of the whole solve, on molecules and on images.

States are unguided samples taken back to a noise level, so that neither data set needs its data; each is asked for what
sampling would ask of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from qm9.measure import REPORT, Molecules
from tfg_jax.lookahead import Conditioned
from tfg_jax.runs.store import fingerprint
from tfg_jax.runs.study import Row
from tfg_jax.tasks.qm9.task import resized

LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Noise levels s = alpha / (alpha + sigma): 0 is noise, 1 is data."""
HORIZONS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
IMAGES = "Fashion-MNIST label"
IMAGE_WEIGHTS = {"model": "fashion-mnist", "guide": "fashion-mnist-guide"}
UNGUIDED = tfg.DDIM(50)


class Asked(NamedTuple):
    """A model, its clean samples, and what is asked of each."""

    model: Any
    x: jax.Array
    cond: jax.Array | None
    objective: Any
    target: jax.Array

    def at(self, x: jax.Array, part: slice) -> Asked:
        """Part of it, with other states."""
        return self._replace(x=x[part], cond=None if self.cond is None else self.cond[part], target=self.target[part])


def rows_of(molecules: Molecules) -> list[Row]:
    """The label of images, then every property of molecules."""
    options = molecules.options
    calls = int(2 * (2 * options.solve_steps + 1) * (len(HORIZONS) + 1 + 1.5) * len(LEVELS))
    listed = []
    for name in (IMAGES, *options.properties):
        config = {"states": options.states, "solve_steps": options.solve_steps, "levels": LEVELS, "horizons": HORIZONS}
        asked, inputs = (
            (lambda: of_images(options.states), lambda: {key: fingerprint(tfg.load(each).params)
                                                         for key, each in IMAGE_WEIGHTS.items()})
            if name == IMAGES
            else (partial(of_molecules, molecules, name), lambda: molecules.hashes)
        )  # fmt: skip
        listed.append(
            Row(
                f"diagnosis/{name}",
                "diagnosis",
                config,
                partial(measure, molecules, asked),
                samples=options.states,
                evaluations=calls,
                seconds=calls * options.states / options.rate,
                labels={"table": "diagnosis", "property": name, "row": "gradients"},
                inputs=inputs,
            )  # fmt: skip
        )
    return listed


def of_images(n: int) -> Asked:
    """Unconditional images, all classes alike."""
    model, guide = (tfg.load(name) for name in IMAGE_WEIGHTS.values())
    x = tfg.sample(jax.random.key(REPORT), model, num_samples=n, sampler=UNGUIDED).x
    return Asked(model, x, None, tfg.objectives.class_log_prob(guide), jnp.arange(n, dtype=jnp.int32) % 10)


def of_molecules(molecules: Molecules, name: str) -> Asked:
    """Molecules of the requests' atom counts, in arrays of no more rows than they need."""
    task, n = molecules.task((name,), None, False), molecules.options.states
    objective = task.objective(None)
    targets = jnp.asarray(task.targets(n))
    target, cond = task.asked(objective, targets, False)
    model = resized(task.model, int(cond.max()))
    x = tfg.sample(jax.random.key(REPORT), model, num_samples=n, cond=cond, sampler=UNGUIDED).x
    return Asked(model, x, cond, objective, target)


def measure(molecules: Molecules, problem: Callable[[], Asked], choice: None, trial: bool) -> dict[str, Any]:
    """Per noise level: cosine, norm and value of every state at every horizon, and whether the whole solve is solved:
    the cosine of its gradient to that in half the steps."""
    model, x, cond, objective, target = asked = problem()
    options = molecules.options
    solve = tfg.TruncatedSolve(steps=options.solve_steps)
    chunk = min(options.chunk, len(x))
    finite = np.asarray(np.isfinite(np.asarray(x)).reshape(len(x), -1).all(1))
    levels = []
    for i, s in enumerate(LEVELS):
        t = model.schedule.t_of_s(s)
        level = model.schedule.level(t)
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(1), i), x.shape)
        if cond is not None:
            noise = jax.vmap(model.domain.projected)(noise, cond)
        states = level.alpha * x + level.sigma * noise
        curve = tfg.diagnose_horizon(
            model, states, t, objective, target, HORIZONS, lookahead=solve, cond=cond, chunk=chunk
        )
        values = {key: getattr(curve, key) for key in ("cosine", "norm", "value")}
        parts = [slice(i, i + chunk) for i in range(0, len(x), chunk)]
        values["half"] = jnp.concatenate([converged(asked.at(states, i), level, solve) for i in parts])[:, None]
        levels.append({"s": s} | {key: told(value, finite) for key, value in values.items()})
    return {"setting": "-", "levels": levels, "failed": int((~finite).sum())}


@jax.jit
def converged(asked: Asked, level: Any, solve: Any) -> jax.Array:
    """Cosine between the gradients through the whole solve in all its steps and in half of them, (n,)."""
    model, x, cond, objective, target = asked

    def one(x: jax.Array, cond: Any, target: jax.Array) -> jax.Array:
        given, gradients = {} if cond is None else {"cond": cond}, []
        for steps in (solve.steps, max(solve.steps // 2, 1)):
            seen = solve.replace(horizon=1.0, steps=steps)(Conditioned(model, cond), x, level)
            gradients.append(seen.pullback(jax.grad(lambda x0: objective(x0, target, **given))(seen.x0)).ravel())
        a, b = gradients
        return a @ b / jnp.maximum(jnp.linalg.norm(a) * jnp.linalg.norm(b), 1e-30)

    return jax.vmap(one)(x, cond, target)


def told(values: jax.Array, kept: np.ndarray) -> list[list[float]]:
    """Rows of the states that are kept, with five digits."""
    return [[float(f"{v:.5g}") for v in row] for row in np.asarray(values, np.float64)[kept]]
