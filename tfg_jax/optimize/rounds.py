"""What one round does to a batch: values, gradients and the next targets; failed samples keep their last good state."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from tfg_jax import struct
from tfg_jax.batch import map_samples
from tfg_jax.kinds import public

Linearize = Literal["sample", "mean"]


@struct.dataclass
class Batch:
    """A batch with the linearized reward that guides the next one.

    Attributes:
        z: samples (B, *shape).
        value: reward of each (B,).
        g: gradients (B, *shape); rows are equal if linearized at the mean.
        y: wanted values of ``g^T x`` (B,).
    """

    z: Array
    value: Array
    g: Array
    y: Array


class Goal(NamedTuple):
    """How much reward is asked for: ``delta`` above the present one, or the ``value``; one of them is None."""

    delta: ArrayLike | None
    value: ArrayLike | None


@partial(jax.jit, static_argnames="linearize")
def assess(
    key: PRNGKeyArray,
    objective: Any,
    gradient: Any,
    z: Float[Array, "B *shape"],
    ok: Bool[Array, " B"],
    *,
    target: PyTree,
    goal: Goal,
    last: Batch | None,
    linearize: Linearize,
) -> tuple[Batch, Bool[Array, " B"], dict[str, Array]]:
    """The batch of a round from its samples, which samples are good, and the numbers of the history.

    Args:
        key: for gradients that are estimated.
        objective, gradient: what is raised, and how its gradient is found.
        z: new samples.
        ok: which of them finished.
        target: the objective's.
        goal: how much is asked for.
        last: the batch before, whose entries stand in for failed ones; None in the first round, where the first good
            sample does.
        linearize: "sample" or "mean".
    """
    count = len(z)
    value = map_samples(lambda at: objective(*at), (z, target))
    good = ok & jnp.isfinite(value)
    if last is None:
        donor = jnp.argmax(good)
        z_last, value_last = jnp.broadcast_to(z[donor], z.shape), jnp.broadcast_to(value[donor], value.shape)
    else:
        z_last, value_last = last.z, last.value
    z, value = _choose(good, z, z_last), jnp.where(good, value, value_last)
    g, y = _linear_model(
        key, objective, gradient, z, value, target=target, goal=goal, linearize=linearize
    )  # fmt: skip
    sound = jnp.isfinite(y) & jnp.all(jnp.isfinite(g).reshape(count, -1), axis=1)
    good = good & sound
    if last is None:  # a sample without a gradient waits for the next round unguided
        g, y = _choose(sound, g, jnp.zeros_like(g)), jnp.where(sound, y, 0.0)
    else:
        z, value = _choose(sound, z, last.z), jnp.where(sound, value, last.value)
        g, y = _choose(sound, g, last.g), jnp.where(sound, y, last.y)
    norm = jnp.sqrt(jnp.sum(g.reshape(count, -1) ** 2, axis=1))
    note = {
        "reward": value.mean(), "reward_std": value.std(), "reward_best": value.max(),
        "gradient_norm": norm.mean(), "failed": jnp.sum(~good),
    }  # fmt: skip
    return Batch(z, value, g, y), good, note


def _linear_model(
    key: PRNGKeyArray, objective: Any, gradient: Any, z: Array, value: Array, *, target: PyTree, goal: Goal,
    linearize: Linearize,
) -> tuple[Array, Array]:  # fmt: skip
    count = len(z)
    seen = (z, value)
    if linearize == "sample":
        points, level = z, value
        g = gradient(key, objective, points, target, seen)
    else:
        # With targets that differ the reward is the mean over them; without, one point is enough.
        many = 1 if target is None else count
        points = jnp.broadcast_to(z.mean(0), (many, *z.shape[1:]))
        g = gradient(key, objective, points, target, seen).mean(0, keepdims=True)
        level = map_samples(lambda at: objective(*at), (points, target)).mean(keepdims=True)
        points = points[:1]
    along = jnp.sum((g * points).reshape(len(g), -1), axis=1)
    y = along + (jnp.asarray(goal.delta) if goal.delta is not None else jnp.asarray(goal.value) - level)
    return jnp.broadcast_to(g, z.shape), jnp.broadcast_to(y, (count,)).astype(z.dtype)


def _choose(which: Array, new: Array, old: Array) -> Array:
    return jnp.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old)


@public
def off_support(x: Float[Array, "B *shape"], basis: Float[Array, "D d"]) -> Float[Array, " B"]:
    """How far each sample is off a linear subspace: ``|x - A A^T x| / (|A A^T x| + 1e-8)``.

    Args:
        x: samples of D numbers each.
        basis: A, orthonormal columns.
    """
    flat = x.reshape(len(x), -1)
    inside = (flat @ basis) @ basis.T
    return jnp.linalg.norm(flat - inside, axis=1) / (jnp.linalg.norm(inside, axis=1) + 1e-8)
