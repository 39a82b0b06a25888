"""Candidates on the axes of a search, and the methods that they stand for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tfg_jax.guidance.tfg import OWNERS
from tfg_jax.search.axis import LOOKAHEAD, Axis, axis_of, shown, strengths
from tfg_jax.tasks.base import Method, Task
from tfg_jax.truncated import TruncatedSolve


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Values of the axes, as pairs of name and value."""

    values: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Candidate:
        """From values by name, as JSON gives them."""
        return cls(tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in values.items()))

    @property
    def by_name(self) -> dict[str, Any]:
        """The values by name."""
        return dict(self.values)

    def __str__(self) -> str:
        return " ".join(f"{name}={shown(value)}" for name, value in self.values) or "as given"


@dataclasses.dataclass(frozen=True)
class Space:
    """Where candidates lie.

    Attributes:
        task: that they are for.
        method: whose settings they change; what is no axis stays.
        axes: the settings.
        max_cost: network evaluations (forwards and pullbacks) a sample may cost; None is any number.
    """

    task: Task
    method: Method
    axes: tuple[Axis, ...]
    max_cost: float | None = None

    @classmethod
    def of(cls, task: Any, method: Any, axes: Sequence[str] = (), max_cost: float | None = None) -> Space:
        """With the axes as `axis_of` reads them; () are all strengths of the method.

        Raises:
            ValueError: no axes, or one named twice.
        """
        names = tuple(axes) or tuple(strengths(method))
        if not names:
            raise ValueError("axes=() but the method has no strength to search; name axes, e.g. n_recur=1,2,4")
        read = tuple(axis_of(text, task, method) for text in names)
        if len({axis.name for axis in read}) < len(read):
            raise ValueError(f"axes={' '.join(names)!r:.80} names a setting twice; name each once")
        return cls(task, method, read, max_cost)

    @cached_property
    def start(self) -> Candidate:
        """Where the search begins. Raises ValueError if it is over ``max_cost``."""
        first = Candidate(tuple((axis.name, axis.start) for axis in self.axes))
        self.built(first)  # says what is wrong with it
        if not self.allows(first):
            raise ValueError(f"max_cost={self.max_cost:g} is below the {self.cost(first):g} network evaluations a "
                             "sample of the start; raise it, or start from fewer steps or recurrences")  # fmt: skip
        return first

    def built(self, candidate: Candidate) -> tuple[Task, Method]:
        """The task and the method of a candidate. Raises ValueError for values that do not fit each other."""
        owned: dict[str, dict[str, Any]] = {}
        for axis, (name, value) in zip(self.axes, candidate.values, strict=True):
            owned.setdefault(axis.owner, {})[LOOKAHEAD.get(name, name) if axis.owner == "lookahead" else name] = value
        method: Any = self.method
        if "guidance" in owned:
            fields = owned["guidance"]
            needless = {name: None for name, term in OWNERS.items() if fields.get(term, 0) is None}
            method = dataclasses.replace(method, **{**needless, **fields})  # without what only an absent term has
        changes: dict[str, Any] = dict(owned.get("window", {}))
        if "sampler" in owned:
            changes["sampler"] = dataclasses.replace(self.task.sampler, **owned["sampler"])
        if "lookahead" in owned:
            changes["lookahead"] = _lookahead(self.task.lookahead, owned["lookahead"])
        return (dataclasses.replace(self.task, **changes) if changes else self.task), method  # type: ignore[type-var]

    def cost(self, candidate: Candidate) -> float:
        """Network evaluations a sample, at most."""
        task, method = self.built(candidate)
        cost = task.upper_cost(method)
        return float(cost.forwards) + float(cost.pullbacks)

    def allows(self, candidate: Candidate) -> bool:
        """Whether the values fit each other and the limit of the cost."""
        try:
            return self.cost(candidate) <= (math.inf if self.max_cost is None else self.max_cost)
        except ValueError:
            return False

    def moves(self, candidate: Candidate, *, down: bool = True, power: float = 1.0) -> Iterator[Candidate]:
        """Those one step away on one axis."""
        values = candidate.by_name
        for axis in self.axes:
            for up in (True, False)[: 1 + down]:
                new = Candidate.of(values | {axis.name: axis.moved(values[axis.name], up, power)})
                if new != candidate and self.allows(new):
                    yield new


def _lookahead(own: Any, fields: Mapping[str, Any]) -> Any:
    if "horizon" in fields and fields["horizon"] is None:
        return None
    if isinstance(own, TruncatedSolve):
        return dataclasses.replace(own, **fields)
    if "horizon" not in fields:
        raise ValueError("lookahead_steps has no effect without a horizon; give one, or make it an axis as well")
    return TruncatedSolve(**fields)
