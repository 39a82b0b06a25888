"""What a sampling run returns, as data: samples, per-sample status, per-sample cost, recorded information."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

from tfg_jax import struct
from tfg_jax.checks import is_concrete

OK = 0
NON_FINITE = 1
INVALID_INPUT = 2
DIVERGED = 3
UNGUIDED = 4
NAMES = {
    OK: "ok", NON_FINITE: "non-finite", INVALID_INPUT: "of invalid input", DIVERGED: "diverged", UNGUIDED: "unguided",
}  # fmt: skip

LARGEST = 1e4
"""A state with a larger entry, in units of the data, has diverged.

Data is of order 1, images lie in [-1, 1], so the bound at noise level (alpha, sigma) is this times
``sqrt(alpha^2 + sigma^2)``, the scale of the level: on variance-preserving schedules the number itself.
"""


def finished(code: Any) -> Any:
    """Where a status code, array or number, is of a sample that finished: OK, or UNGUIDED."""
    return (code == OK) | (code == UNGUIDED)


def status_code(x: Float[Array, "*shape"], scale: ArrayLike = 1.0) -> Int[Array, ""]:
    """The code of one sample's state at a level of a scale: OK, NON_FINITE, or DIVERGED beyond `LARGEST`."""
    peak = jnp.max(jnp.abs(jax.lax.stop_gradient(x)))
    bad = jnp.where(jnp.isfinite(peak), DIVERGED, NON_FINITE)
    return jnp.where(peak <= LARGEST * scale, OK, bad).astype(jnp.int32)


@struct.dataclass
class Status:
    """How a sample ended.

    | code              | meaning                                                                             |
    |-------------------|-------------------------------------------------------------------------------------|
    | 0 `OK`            | finished                                                                            |
    | 1 `NON_FINITE`    | went NaN or infinite at ``step``                                                    |
    | 2 `INVALID_INPUT` | its condition, target or start cannot be meant, noticed under jit                   |
    | 3 `DIVERGED`      | an entry passed `LARGEST` in units of the data at ``step``                          |
    | 4 `UNGUIDED`      | finished, but its guidance was exactly zero at every guided step: it did nothing    |

    ``step`` is the sampling step (counted from 0, noisy to clean) that failed first, -1 if none did; the sample then
    holds its last state before.
    """

    code: Int[Array, "*batch"]
    step: Int[Array, "*batch"]

    def __repr__(self) -> str:
        if not _is_known(self.code):
            return struct.short_repr(self)
        codes = np.atleast_1d(np.asarray(self.code))
        counts = {name: int((codes == code).sum()) for code, name in NAMES.items()}
        return f"Status({', '.join(f'{count} {name}' for name, count in counts.items() if count or name == 'ok')})"

    @property
    def ok(self) -> Any:
        """True where the sample finished, guided or not: codes `OK` and `UNGUIDED`."""
        return finished(self.code)

    @classmethod
    def begun(cls, code: int = OK) -> Status:
        """The status of one sample before its first step."""
        return cls(jnp.asarray(code, jnp.int32), jnp.asarray(-1, jnp.int32))

    def after(self, code: Array, step: Array, guided: Any = None) -> Status:
        """The status after a step that ended with ``code``; the first failure stays, and one step's guidance counts."""
        failed = self.ok & (code != OK)
        ended = self.code if guided is None else jnp.where(guided & (self.code == UNGUIDED), OK, self.code)
        return Status(jnp.where(failed, code, ended), jnp.where(failed, step, self.step))

    def if_valid(self, usable: Array) -> Status:
        """The status of a sample whose input is ``usable``, `INVALID_INPUT` otherwise."""
        return Status(jnp.where(usable, self.code, INVALID_INPUT), jnp.where(usable, self.step, -1))


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
        x: (n, *shape) samples, or a pytree of such arrays; in units of the data and not cut to its range.
        status: per-sample `Status`.
        cost: per-sample `Cost`.
        info: what `record` asked for; empty otherwise.
    """

    x: PyTree
    status: Status
    cost: Cost
    info: PyTree
