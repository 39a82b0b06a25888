"""Schedules as JSON values of a weights' configuration, in range; those of a user's own cannot be stored."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from tfg_jax import schedules
from tfg_jax.config import to_plain
from tfg_jax.models.config import FIX, is_number, need

# The schedules that numbers describe, and what must hold of these.
RANGES: dict[type, tuple[Callable[[Any], bool], str]] = {
    schedules.VPLinear: (lambda s: 0 < s.beta_min <= s.beta_max, "0 < beta_min <= beta_max"),
    schedules.VPCosine: (lambda s: s.offset >= 0 and 0 < s.t_start < 1, "offset >= 0 and 0 < t_start < 1"),
    schedules.VPTruncatedCosine: (lambda s: True, "a finite log_snr_min"),
    schedules.VPPolynomial: (lambda s: 0 < s.floor < 1, "0 < floor < 1"),
    schedules.VE: (lambda s: 0 < s.sigma_min < s.sigma_max, "0 < sigma_min < sigma_max"),
    schedules.EDM: (lambda s: s.sigma_max > 0, "sigma_max > 0"),
    schedules.RectifiedFlow: (lambda s: 0 < s.t_start < 1, "0 < t_start < 1"),
}


def schedule_to_dict(schedule: schedules.Schedule) -> dict[str, Any]:
    """A schedule as JSON values; `schedule_from_dict` gives it back."""
    if type(schedule) not in (*RANGES, schedules.Discrete):
        raise ValueError(f"schedule={schedule!r} cannot be stored; use one of tfg_jax.schedules.")
    return to_plain(schedule)


def schedule_from_dict(values: Any) -> schedules.Schedule:
    """The schedule of `schedule_to_dict`. Raises ValueError on an unknown name or parameter, or one out of range."""
    need("schedule", values, isinstance(values, dict), "an object with the schedule's type and parameters")
    parameters = dict(values)
    name = parameters.pop("type", None)
    known: dict[Any, Any] = {schedule.__name__: schedule for schedule in RANGES}
    if name == "Discrete":
        return _discrete(parameters)
    right = name in list(known) and set(parameters) <= set(known[name].__dataclass_fields__)
    need("schedule", values, right, f"one of {', '.join(known)}, Discrete with its own parameters")
    for key, value in parameters.items():
        need(f"schedule.{key}", value, is_number(value), "a finite number")
    schedule = known[name](**parameters)
    holds, words = RANGES[known[name]]
    need("schedule", values, holds(schedule), f"{name} with {words}")
    return schedule


def _discrete(parameters: dict[str, Any]) -> schedules.Discrete:
    table: Any = parameters.get("log_alpha")
    ends = isinstance(table, list) and len(table) > 2 and table[-1] is None  # -inf, which JSON has not
    table = table[:-1] if ends else table
    right = isinstance(table, list) and len(table) > 1 and all(is_number(value) for value in table)
    # Ties are let through: neighbours in a fine table can share their float32.
    right = right and table[0] == 0 and table[1] < 0 and bool(np.all(np.diff(table) <= 0))
    need("schedule.log_alpha", table, right, "a list of finite numbers that starts at 0 and decreases")
    if len(parameters) > 1:
        raise ValueError(f"schedule has the keys {sorted(parameters)}; a Discrete one has log_alpha alone, {FIX}")
    return schedules.Discrete(jnp.asarray([*table, -np.inf] if ends else table, float))
