"""The state of an iterated run, and its home on disk: one Orbax checkpoint a saved round, `config.json` beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from tfg_jax import struct
from tfg_jax.config import to_dict
from tfg_jax.guidance.gradient import noise_std_of
from tfg_jax.locks import FolderLock
from tfg_jax.noise import root_key
from tfg_jax.optimize.finetune import FineTune, params_of, with_params
from tfg_jax.optimize.rounds import Batch
from tfg_jax.runs.store import fingerprint
from tfg_jax.training import checkpoint

claim = checkpoint.claim


@struct.dataclass
class State:
    """Everything that the next round depends on.

    Attributes:
        round: the last good round; 0 is the unguided one.
        batch: its samples, rewards, gradients and targets.
        params: the model's weights if they change, else None.
        adapted: the state of what changes them.
        history: name -> (rounds + 1,), NaN where not reached.
    """

    round: Int[Array, ""]
    batch: Batch
    params: PyTree
    adapted: PyTree
    history: dict[str, Array]

    def after(self, run: Any, batch: Batch, model: Any, adapted: PyTree) -> State:
        """The state of the next round, not yet noted."""
        params = None if run.adapt is None else params_of(model)
        return State(self.round + 1, batch, params, adapted, self.history)

    def noted(self, numbers: Mapping[str, float]) -> State:
        """The same with the numbers of its round written down."""
        at = int(self.round)
        return dataclasses.replace(
            self, history={name: values.at[at].set(numbers[name]) for name, values in self.history.items()}
        )


def begin(run: Any, batch: Batch, adapted: PyTree) -> State:
    """The state of round 0, nothing noted."""
    names = ["reward", "reward_std", "reward_best", "gradient_norm", "failed", "seconds"]
    names += ["off_support"] if run.basis is not None else []
    names += ["gradient_over_noise"] if noise_std_of(run.plan.guidance) is not None else []
    empty = jnp.full(run.rounds + 1, jnp.nan)
    params = None if run.adapt is None else params_of(run.problem.model)
    return State(jnp.zeros((), jnp.int32), batch, params, adapted, dict.fromkeys(sorted(names), empty))


def model_of(run: Any, state: State) -> Any:
    """The model of the state's round."""
    return run.problem.model if state.params is None else with_params(run.problem.model, state.params)


def save(lock: FolderLock, state: State) -> None:
    """Save the state as its round."""
    lock.check()
    checkpoint.save(lock.folder, int(state.round), state)


def restore(folder: Path, run: Any, key: PRNGKeyArray) -> State | None:
    """The last saved state, or None if there is none."""
    if not checkpoint.saved_steps(folder):
        return None
    shapes = jax.eval_shape(lambda key: run.first(key)[0], key)
    return checkpoint.restore(folder, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))


def describe(run: Any, key: PRNGKeyArray) -> dict[str, Any]:
    """All that decides the run, as JSON: arrays by their hash, so that other values of any of it are another run."""
    problem, plan = run.problem, run.plan
    arrays = {
        "model": jax.tree.leaves(problem.model), "objective": jax.tree.leaves(problem.objective),
        "target": problem.target, "cond": problem.cond, "initial": run.initial, "basis": run.basis,
        "gradient": jax.tree.leaves(run.gradient), "key": jax.random.key_data(root_key(key)),
    }  # fmt: skip
    if isinstance(run.adapt, FineTune):
        adapt = {
            field.name: getattr(run.adapt, field.name)
            for field in dataclasses.fields(run.adapt)
            if field.name not in ("data", "optimizer")
        }
        adapt["optimizer"] = "given" if run.adapt.optimizer is not None else "adam"
        arrays["data"] = run.adapt.data
    else:
        adapt = {}
    function = getattr(problem.objective, "fn", None)
    return {
        "rounds": run.rounds, "batch": run.batching.num_samples, "delta": _number(run.goal.delta),
        "goal": _number(run.goal.value),
        "linearize": run.linearize, "chunk": run.batching.chunk,
        "guidance": to_dict(plan.guidance), "sampler": to_dict(plan.sampler), "clip": to_dict(plan.clip),
        "lookahead": to_dict(plan.lookahead),
        "objective": [type(problem.objective).__name__, getattr(function, "__qualname__", None)],
        "gradient": [type(run.gradient).__name__, getattr(run.gradient, "directions", None)],
        "adapt": [type(run.adapt).__name__, adapt],
        "sha256": {name: fingerprint(value) for name, value in arrays.items()},
    }  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None else float(np.asarray(value))
