"""What a sampling run returns, as data: samples, per-sample status, per-sample cost, recorded information."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from tfg_jax import struct

OK = 0
NON_FINITE = 1
INVALID_INPUT = 2


@struct.dataclass
class Status:
    """How a sample ended: ``code`` is OK (0), NON_FINITE (1) or INVALID_INPUT (2).

    ``step`` is the sampling step (counted from 0, noisy to clean) that first went non-finite, -1 otherwise; the sample
    then holds its last finite state.
    """

    code: Int[Array, "*batch"]
    step: Int[Array, "*batch"]

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
