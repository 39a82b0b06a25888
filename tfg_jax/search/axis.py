"""The settings that a search changes, read off the declarations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfg_jax.arguments import check_window
from tfg_jax.declare import Field, check_value, describe
from tfg_jax.kinds import public
from tfg_jax.truncated import TruncatedSolve

LOOKAHEAD = {"horizon": "horizon", "lookahead_steps": "steps"}
"""Axes of a task's lookahead, and the fields of `TruncatedSolve` that they are."""
HORIZONS = (None, 0.25, 0.5, 1.0)
WIDTH = 32.0
"""How many times above and below its start a multiplicative axis goes, unless it is told or its field has less room."""
STOPPING = ("tolerance",)
"""Settings that decide how long a solve goes on: an axis if they are named, no strengths."""
DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Axis:
    """One setting that a search changes.

    Attributes:
        name: of the field.
        owner: whose it is: "guidance", "lookahead", "window" or "sampler".
        start: its value where the search begins.
        values: those it may have, in order; () multiplies by ``factor`` within ``low`` and ``high`` instead.
        factor: > 1.
        low, high: ends of a multiplicative axis.
        whole: whether its values are whole numbers.
        traced: whether all its values share a compiled program; only None and a number never do.
    """

    name: str
    owner: str
    start: Any
    values: tuple = ()
    factor: float = 2.0
    low: float = 0.0
    high: float = math.inf
    whole: bool = False
    traced: bool = True

    def moved(self, value: Any, up: bool, power: float = 1.0) -> Any:
        """The next value above or below; the same where there is none. ``power`` makes a step finer or coarser."""
        if self.values:
            index = self.values.index(value) + max(round(power), 1) * (1 if up else -1)
            return self.values[min(max(index, 0), len(self.values) - 1)]
        steps = round(math.log(value / self.start, self.factor), 4)  # so that every way to a value gives the same one
        if not (steps := steps + (power if up else -power)):
            return self.start
        new = self.start * self.factor**steps
        if self.whole:
            new = max(value + 1, round(new)) if up else min(value - 1, round(new))
        new = min(max(new, self.low), self.high)
        return int(new) if self.whole else float(f"{new:.{DIGITS}g}")


@public
def axis_of(axis: str, task: Any, method: Any) -> Axis:
    """The axis that a text names, read off the declarations of a method and of a task's sampler and lookahead.

    Args:
        axis: ``rho`` (steps by its usual factor), ``rho=*1.5``, or a list ``n_recur=1,2,4``, ``horizon=none,0.5,1``,
            ``window=none,-30:2``.
        task: whose sampler, lookahead and window there are.
        method: the method; its values are where the search starts.
    Raises:
        ValueError: no such setting, one without a value to start from, a value that it cannot have, or a list that
            cannot be meant.
    """
    name, _, given = axis.partition("=")
    owner, start, field, config = _setting(name, task, method)
    is_number = field is not None and field.spec.kind in ("number", "count")
    whole = field is not None and field.spec.kind == "count"
    traced = field is None or field.traced
    start = np.asarray(start).item() if is_number and start is not None and not callable(start) else start
    start = float(start) if is_number and not whole and isinstance(start, int) else start
    if given and not given.startswith("*"):
        values = tuple(_value(name, word, whole, is_number) for word in given.split(","))
    elif name == "horizon":
        values = HORIZONS
    elif field is not None and field.spec.kind == "choice":
        values = field.options
    else:
        values = ()
    for value in values:
        try:
            check_window(value) if field is None else check_value(config, field.name, value)
        except ValueError as error:
            raise ValueError(f"axis={axis!r:.60} lists {shown(value)}: {error}") from None
    if values:
        if len(set(values)) < len(values):
            raise ValueError(f"axis={axis!r} names a value twice; name each once")
        listed: list[Any] = [*values] if start in values else [start, *values]
        if all(isinstance(value, int | float) for value in listed):
            listed.sort()
        return Axis(name, owner, start, tuple(listed), whole=whole, traced=traced)
    if not is_number or not isinstance(start, int | float) or start <= 0:
        raise ValueError(f"axis={axis!r} starts at {start!r:.40}, which no factor moves; give the method a value above "
                         f"0, or list values as {name}=a,b,c")  # fmt: skip
    low, high = (field.spec.low, field.spec.high) if field is not None else (None, None)
    ends = max(start / WIDTH, 1 if whole else 0, low or 0), min(start * WIDTH, math.inf if high is None else high)
    return Axis(name, owner, start, (), _factor(axis, given), *ends, whole=whole, traced=traced)


def strengths(method: Any) -> list[str]:
    """The axes that every search may have: the method's numbers above 0, but for where a solve stops."""
    numbers = [field.name for field in describe(type(method)) if field.spec.kind == "number"]
    named = [name for name in numbers if name not in STOPPING]
    values = {name: getattr(method, name) for name in named}
    return [n for n, v in values.items() if v is not None and not callable(v) and np.ndim(v) == 0 and np.all(v > 0)]


def _factor(axis: str, given: str) -> float:
    try:
        factor = float(given[1:]) if given else 2.0
    except ValueError:
        factor = math.nan
    if not 1 < factor < math.inf:
        raise ValueError(f"axis={axis!r} needs a factor above 1, such as {axis.partition('=')[0]}=*2")
    return factor


class _Setting(NamedTuple):
    """Whose it is, its value, its declaration, and an object that has it."""

    owner: str
    value: Any
    field: Field | None
    config: Any


def _setting(name: str, task: Any, method: Any) -> _Setting:
    known: dict[str, _Setting] = {}
    solved = task.lookahead if isinstance(task.lookahead, TruncatedSolve) else TruncatedSolve(1.0)
    solve = {field.name: field for field in describe(TruncatedSolve)}
    for axis, of_solve in LOOKAHEAD.items():
        value = getattr(task.lookahead, of_solve, None if axis == "horizon" else solve["steps"].default)
        known[axis] = _Setting("lookahead", value, solve[of_solve], solved)
    own = None if task.window is None else tuple(map(float, task.window))
    known["window"] = _Setting("window", own, None, None)
    for owner, config in (("sampler", task.sampler), ("guidance", method)):
        fields: Sequence[Field] = () if config is None else describe(type(config))
        simple = [field for field in fields if field.spec.kind in ("number", "count", "choice")]
        known |= {field.name: _Setting(owner, getattr(config, field.name), field, config) for field in simple}
    if name not in known:
        raise ValueError(f"axis={name!r:.60} names no setting; there are {', '.join(sorted(known))}")
    return known[name]


def _value(name: str, word: str, whole: bool, is_number: bool) -> Any:
    if word in ("none", ""):
        return None
    try:
        if name == "window":
            low, high = map(float, word.split(":"))
            return (low, high)
        return int(word) if whole else float(word) if is_number else word
    except ValueError:
        form = "low:high or none" if name == "window" else "a whole number" if whole else "a number or none"
        raise ValueError(f"axis='{name}=...' lists {word!r:.40}, which cannot be read; write {form}") from None


def shown(value: Any) -> str:
    """A value as an axis on the command line has it."""
    if isinstance(value, tuple):
        return ":".join(f"{part:g}" for part in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
