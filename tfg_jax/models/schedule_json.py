"""Schedules as JSON values of a weights' configuration."""

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from tfg_jax import config
from tfg_jax.models.config import FIX, need
from tfg_jax.schedules import Discrete, Schedule


def schedule_from_dict(values: Any, allow: Collection[str] = ()) -> Schedule:
    """The schedule of its `tfg_jax.config.to_dict`; ValueError on an unknown name or parameter, or one out of range."""
    need("schedule", values, isinstance(values, dict), "an object with the schedule's type and parameters")
    for key, value in values.items():
        need(f"schedule.{key}", value, value is not None, "a number, a text or a list")
    try:
        schedule = config.from_dict(values, allow=allow)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"schedule: {error}; {FIX}") from None
    need("schedule", values, isinstance(schedule, Schedule), "a schedule")
    need("schedule", values, values.get("t_start", 0.5) < 1, "one that starts where there is signal, at t_start < 1")
    if isinstance(schedule, Discrete):
        table = np.asarray(schedule.log_alpha)
        # Ties are let through: neighbours in a fine table can share their float32.
        right = table.ndim == 1 and table.size > 1 and table[0] == 0 and table[1] < 0
        right = right and bool(np.all(table[1:] <= table[:-1])) and bool(np.all(np.isfinite(table[:-1])))
        need("schedule.log_alpha", values["log_alpha"], right, "a list of numbers that starts at 0 and decreases")
        return Discrete(jnp.asarray(table, float))
    return schedule
