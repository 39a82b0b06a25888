"""Where random numbers come from: keys by default, a recorded tape for replays.

    sample key = fold_in(root, global sample index) -> named stream -> step -> recurrence

so the draws of sample i depend on the root key and i alone, never on batch size, order, devices or other options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, PRNGKeyArray, PyTree

from tfg_jax import struct

THREEFRY = "threefry2x32"

STREAM_INITIAL, STREAM_STEP, STREAM_RENOISE, STREAM_MC, STREAM_CHURN = range(5)


class StepNoise:
    """The standard-normal draws of one step and recurrence, each made when first asked for.

    ``step``, ``renoise`` and ``churn`` have the sample's shape; ``mc(n)`` has shape (n, *shape).
    """

    def __init__(self, draw: Callable[[int, tuple[int, ...]], Array]):
        self._draw = draw

    def through(self, project: Callable[[Array], Array]) -> StepNoise:
        """The same draws, each seen through ``project``, which takes any leading axes."""
        return StepNoise(lambda stream, lead: project(self._draw(stream, lead)))

    @property
    def step(self) -> Array:
        """The sampler rule's noise."""
        return self._draw(STREAM_STEP, ())

    @property
    def renoise(self) -> Array:
        """Takes the sample back to this level between recurrences."""
        return self._draw(STREAM_RENOISE, ())

    @property
    def churn(self) -> Array:
        """Raises the noise level before a step (EDM churn)."""
        return self._draw(STREAM_CHURN, ())

    def mc(self, n: int) -> Array:
        """The smoothing draws, shared by every gradient of the recurrence."""
        return self._draw(STREAM_MC, (n,))


@runtime_checkable
class NoiseSource(Protocol):
    """Gives the initial noise of one sample and the draws of each (step, recurrence)."""

    def initial(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Standard normal of the sample's shape."""
        ...

    def at(self, step: ArrayLike, recurrence: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> StepNoise:
        """The draws of sampling step ``step`` and recurrence ``recurrence``, both counted from 0."""
        ...


@struct.dataclass
class KeyNoise:
    """Draws from one sample's key; see the module's docstring for the order of fold-ins."""

    key: PRNGKeyArray

    def initial(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return jax.random.normal(jax.random.fold_in(self.key, STREAM_INITIAL), shape, dtype)

    def at(self, step: ArrayLike, recurrence: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> StepNoise:
        def draw(stream: int, lead: tuple[int, ...]) -> Array:
            key = self.key
            for number in (stream, step, recurrence):
                key = folded(key, number)
            return jax.random.normal(key, lead + shape, dtype)

        return StepNoise(draw)


@struct.dataclass
class NoiseTape:
    """Recorded standard-normal draws, replayed in place of random keys.

    Shapes below are of one sample; `tfg_jax.sample` takes them with a leading sample axis, and as pytrees where samples
    are pytrees. A draw that a run does not use may be left None.

    Attributes:
        initial: (*shape) noise at the first level.
        step: (steps, n_recur, *shape) for the sampler rule.
        renoise: (steps, n_recur, *shape) between recurrences; the last of each step is never used.
        mc: (steps, n_recur, n_mc, *shape) for smoothing.
        churn: (steps, n_recur, *shape) for EDM churn.
    """

    initial: PyTree
    step: PyTree = None
    renoise: PyTree = None
    mc: PyTree = None
    churn: PyTree = None

    # Overlaps StepNoise's names on purpose: a tape is the record of those draws.
    def at(self, step: ArrayLike, recurrence: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> StepNoise:
        """The recorded draws of ``step`` and ``recurrence``, both counted from 0.

        A draw raises ValueError when it is not on the tape or has another shape than the run needs.
        """
        records = {
            STREAM_STEP: ("step", self.step), STREAM_RENOISE: ("renoise", self.renoise),
            STREAM_MC: ("mc", self.mc), STREAM_CHURN: ("churn", self.churn),
        }  # fmt: skip

        def draw(stream: int, lead: tuple[int, ...]) -> Array:
            name, record = records[stream]
            if record is None:
                raise ValueError(f"noise.{name}=None but the run draws it; record {name} on the tape")
            if record.shape[2:] != lead + shape:
                raise ValueError(f"noise.{name} holds draws of shape {record.shape[2:]}, the run needs {lead + shape}")
            return record[step, recurrence].astype(dtype)

        return StepNoise(draw)


def sample_key(root: PRNGKeyArray, index: ArrayLike) -> PRNGKeyArray:
    """The key of global sample ``index`` (a scalar integer) under the root key."""
    return jax.random.fold_in(root, index)


def root_key(key: Array) -> PRNGKeyArray:
    """``key``, typed or a legacy ``jax.random.PRNGKey``, as a key of `THREEFRY`, into which other types are folded.

    Under a vmap a hardware generator ("rbg") draws for all samples at once, so that the draws of a sample would depend
    on the samples it is computed with.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key, impl=THREEFRY if key.shape[-1] == 2 else "rbg")
    if jax.random.key_impl(key) == THREEFRY:
        return key
    root, words = jax.random.key(0, impl=THREEFRY), jax.random.key_data(key)
    for index in range(words.shape[-1]):
        root = jax.random.fold_in(root, words[..., index])
    return root


def key_type() -> str:
    """What ``jax.random.key(seed)`` makes now: the draws of a seed depend on it."""
    whole = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    name = str(jax.config.jax_default_prng_impl)  # type: ignore[attr-defined]
    return name if whole else f"{name}, not partitionable"


ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)


def folded(key: PRNGKeyArray, data: ArrayLike) -> PRNGKeyArray:
    """``jax.random.fold_in(key, data)`` of one key, bit for bit.

    For the default keys it is written out, and so compiled to one kernel. JAX writes a loop of small ones, which on
    CPUs takes longer than the draw itself, and there are three to a draw.
    """
    if str(jax.random.key_impl(key)) != THREEFRY:
        return jax.random.fold_in(key, data)
    first, second = jax.random.key_data(key)
    parts = first, second, first ^ second ^ jnp.uint32(0x1BD11BDA)
    a, b = first, second + jnp.asarray(data).astype(jnp.uint32)  # the block (0, data), keyed
    for i in range(5):
        for by in ROTATIONS[i % 2]:
            a = a + b
            b = a ^ (b << jnp.uint32(by) | b >> jnp.uint32(32 - by))
        a, b = a + parts[(i + 1) % 3], b + parts[(i + 2) % 3] + jnp.uint32(i + 1)
    return jax.random.wrap_key_data(jnp.stack([a, b]), impl=THREEFRY)
