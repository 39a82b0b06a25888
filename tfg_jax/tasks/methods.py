"""One batch of a task by any method: guided sampling, or optimization end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.run import end_to_end, upper_end_to_end_cost
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.base import Guidance, StepContext
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.problem import Record
from tfg_jax.result import Cost, Samples
from tfg_jax.sample import sample, upper_cost

EndToEnd = DFlow | Controls
Method = Guidance | DFlow | Controls | None
"""A way to ask a model for something; None is unguided."""


def upper_task_cost(task: Any, method: Method) -> Cost:
    """Calls per sample before a run of the task is made; it can only be cheaper."""
    if isinstance(method, EndToEnd):
        return upper_end_to_end_cost(method, task.model)
    return upper_cost(method, task.lookahead, task.sampler, task.model)


def sample_task(
    task: Any,
    key: PRNGKeyArray,
    targets: Shaped[AnyArray, "n *target"],
    method: Method,
    *,
    summary: Callable[[StepContext], Array],
    reached: Callable[[Any, Array, Array], Float[Array, ""]],
    cond: Any = None,
    index_offset: int | Array = 0,
) -> Samples:
    """One batch of samples of a task.

    Methods that work end to end take neither sampler nor clip nor lookahead from the task, have one summary, and refuse
    a window.

    Args:
        task: with ``model``, ``objective(method)``, ``sampler``, ``clip``, ``lookahead`` and ``window``.
        key: root key.
        targets: one a sample.
        method: the method; None is unguided.
        summary: of a step of guided sampling, kept in ``info["summary"]``, (n, steps).
        reached: ``(objective, x0, target) ->`` the same of a result, for methods that work end to end, (n, 1).
        cond: (n,) classes for the network itself; None is its null class.
        index_offset: global index of the first sample (traced).

    Raises:
        ValueError: as `tfg_jax.sample` and `tfg_jax.end_to_end`.
    """
    target, objective = jnp.asarray(targets), task.objective(method)
    asked: Any = {
        "objective": objective, "num_samples": len(target), "target": target, "cond": cond, "index_offset": index_offset
    }  # fmt: skip
    if isinstance(method, EndToEnd):
        if task.window is not None:
            raise ValueError(f"window={task.window} has no effect on {type(method).__name__}; leave it out")
        out = end_to_end(key, task.model, method, **asked)
        found = jax.vmap(lambda x, target: reached(objective, x, target))(out.x, target)
        return Samples(out.x, out.status, out.cost, {"summary": found[:, None]})
    return sample(
        key, task.model, guidance=method, lookahead=task.lookahead, sampler=task.sampler, clip=task.clip,
        window=task.window, record=Record(summary=summary), **asked,
    )  # fmt: skip
