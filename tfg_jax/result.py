"""What a sampling run returns, as data: samples, per-sample status, per-sample cost, recorded information."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from tfg_jax import struct
from tfg_jax.checks import is_concrete

OK = 0
NON_FINITE = 1
INVALID_INPUT = 2
NAMES = {OK: "ok", NON_FINITE: "non-finite", INVALID_INPUT: "of invalid input"}


@struct.dataclass
class Status:
    """How a sample ended: ``code`` is OK (0), NON_FINITE (1) or INVALID_INPUT (2).

    ``step`` is the sampling step (counted from 0, noisy to clean) that first went non-finite, -1 otherwise; the sample
    then holds its last finite state.
    """

    code: Int[Array, "*batch"]
    step: Int[Array, "*batch"]

    def __repr__(self) -> str:
        if not _is_known(self.code):
            return struct.short_repr(self)
        codes = np.atleast_1d(np.asarray(self.code))
        found = {name: int((codes == code).sum()) for code, name in NAMES.items()}
        return f"Status({', '.join(f'{count} {name}' for name, count in found.items() if count or name == 'ok')})"

    @property
    def ok(self) -> Array:
        """True where the sample finished."""
        return self.code == OK


@struct.dataclass
class Cost:
    """Calls made for a sample: network forwards, network pullbacks, objective gradients."""

    forwards: Int[Array, "*batch"] | int = 0
    pullbacks: Int[Array, "*batch"] | int = 0
    objective: Int[Array, "*batch"] | int = 0

    def __repr__(self) -> str:
        counts = ", ".join(f"{field}={_span(getattr(self, field))}" for field in ("forwards", "pullbacks", "objective"))
        return f"Cost({counts})"

    def __add__(self, other: Cost) -> Cost:
        return jax.tree.map(lambda a, b: a + b, self, other)

    def __mul__(self, times: int | Array) -> Cost:
        return jax.tree.map(lambda a: a * times, self)

    def networks(self, times: int | Array) -> Cost:
        """The same calls of a model whose evaluations take ``times`` network forwards each."""
        return Cost(self.forwards * times, self.pullbacks * times, self.objective)

    def as_arrays(self) -> Cost:
        """The same counts as int32 arrays, for use as a loop carry."""
        return jax.tree.map(lambda a: jnp.asarray(a, jnp.int32), self)


def _is_known(value: Any) -> bool:
    return isinstance(value, int | np.ndarray | np.generic | jax.Array) and is_concrete(value) and np.size(value) > 0


def _span(count: Any) -> str:
    """A count, or the range that the samples' counts span."""
    if not _is_known(count):
        return str(getattr(count, "dtype", count))
    low, high = int(np.min(count)), int(np.max(count))
    return str(low) if low == high else f"{low}..{high}"


@struct.dataclass
class Samples:
    """The result of `tfg_jax.sample`.

    Attributes:
        x: (n, *shape) samples.
        status: per-sample `Status`.
        cost: per-sample `Cost`.
        info: what `record` asked for; empty otherwise.
    """

    x: Float[Array, "n *shape"]
    status: Status
    cost: Cost
    info: PyTree
