"""Changing the model between rounds (Algorithm 2 of Guo et al., arXiv 2404.14743).

    params <- Adam step on  sum_j w_j  mean_{x in D_j}  |eps(alpha x + sigma z, t) - z|^2 / D

`FineTune` with its defaults is the released code: one step on the current batch a round, so w is 1 on that batch. The
weighted form of the theory mixes the pretraining data (weight ``data_weight``) with the batches of the last ``memory``
rounds (weights falling by ``decay`` a round). `Recentre` is the idealised limit for models that are known exactly.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax.analytic import Mixture
from tfg_jax.arguments import check_samples
from tfg_jax.batch import map_samples
from tfg_jax.checks import check_count, check_number
from tfg_jax.schedules import Discrete, Schedule


@runtime_checkable
class Adapt(Protocol):
    """A change of the model from round to round."""

    def check(self, model: Any, cond: PyTree) -> None:
        """Raise ValueError for arguments that cannot be meant, or a model this cannot change."""
        ...

    def init(self, model: Any, batch: int, dtype: Any) -> PyTree:
        """The state it carries."""
        ...

    def update(
        self, key: PRNGKeyArray, number: int, model: Any, state: PyTree, z: Array, cond: PyTree
    ) -> tuple[Any, PyTree]:
        """The model for round ``number`` (from 1), given the batch ``z`` of the round before."""
        ...


@dataclasses.dataclass(frozen=True)
class FineTune:
    """Gradient steps on the noise-prediction error of samples made so far.

    Attributes:
        learning_rate: of Adam with betas (0.9, 0.99), > 0; the published value is 1e-6.
        steps: gradient steps a round, >= 1.
        start: first round that fine-tunes, >= 1; the published ones are 40 (naive) and 60 (look-ahead).
        rounds: how many rounds fine-tune; None is all from ``start`` on.
        memory: batches of past rounds that are kept, >= 1; 1 is the current batch alone.
        decay: weight of a kept batch relative to the one after it, in (0, 1].
        data: (N, *shape) pretraining data to mix in.
        data_weight: their share of the loss, in [0, 1).
        t_min: lowest time drawn on continuous schedules, in (0, 1); tables draw their nodes.
        optimizer: an optax optimizer in place of Adam.
    """

    learning_rate: float | None = None
    steps: int = 1
    start: int = 1
    rounds: int | None = None
    memory: int = 1
    decay: float | None = None
    data: Float[Array, "N *shape"] | None = None
    data_weight: float = 0.0
    t_min: float = 1e-3
    optimizer: optax.GradientTransformation | None = None

    def check(self, model: Any, cond: PyTree) -> None:
        """Raise ValueError for numbers out of range, options without effect, and models without weights."""
        for name in ("steps", "start", "memory"):
            check_count(name, getattr(self, name))
        if self.rounds is not None:
            check_count("rounds", self.rounds)
        check_number("learning_rate", self.learning_rate, low=0.0, strict=True)
        check_number("decay", self.decay, low=0.0, high=1.0, strict=True)
        check_number("data_weight", self.data_weight, low=0.0)
        if not self.data_weight < 1.0:
            raise ValueError(f"data_weight={self.data_weight} must lie in [0, 1); the rest goes to past rounds")
        if not 0.0 < self.t_min < 1.0:
            raise ValueError(f"t_min={self.t_min} must lie in (0, 1)")
        if self.optimizer is not None and self.learning_rate is not None:
            raise ValueError(f"learning_rate={self.learning_rate} has no effect with an optimizer; set it there")
        if self.decay is not None and self.memory == 1:
            raise ValueError(f"decay={self.decay} has no effect with memory=1; raise memory or drop decay")
        if (self.data is None) != (self.data_weight == 0.0):
            raise ValueError("data and data_weight have an effect only together; give both or neither")
        if self.data is not None:
            check_samples("data", self.data, (len(self.data), *model.shape))
            if cond is not None:
                raise ValueError("data has no conditions to go with cond; fine-tune on samples alone, or without cond")
        if not jax.tree.leaves(params_of(model)):
            raise ValueError("the model has no params to fine-tune; build it with from_fn(fn, params, ...)")

    def init(self, model: Any, batch: int, dtype: Any) -> PyTree:
        """The optimizer's state and room for past batches."""
        return self._optimizer().init(params_of(model)), jnp.zeros((self.memory, batch, *model.shape), dtype)

    def update(
        self, key: PRNGKeyArray, number: int, model: Any, state: PyTree, z: Array, cond: PyTree
    ) -> tuple[Any, PyTree]:
        """The model for round ``number`` (from 1), given the batch ``z`` of the round before."""
        optimizer_state, past = state
        past = jnp.concatenate([z[None], past[:-1]])  # newest first
        first = self.start
        if number < first or (self.rounds is not None and number >= first + self.rounds):
            return model, (optimizer_state, past)
        age = jnp.arange(self.memory)
        weights = jnp.where(age < number, jnp.asarray(1.0 if self.decay is None else self.decay) ** age, 0.0)
        weights = weights / weights.sum() * (1.0 - self.data_weight)
        params, optimizer_state = _steps(
            key, params_of(model), optimizer_state, inner(model), past, data=self.data, cond=cond,
            weights=jnp.append(weights, self.data_weight), t_min=self.t_min, given=self.optimizer, steps=self.steps,
            learning_rate=1e-6 if self.learning_rate is None else self.learning_rate,
        )  # fmt: skip
        return with_params(model, params), (optimizer_state, past)

    def _optimizer(self) -> optax.GradientTransformation:
        return _adam(1e-6) if self.optimizer is None else self.optimizer


@dataclasses.dataclass(frozen=True)
class Recentre:
    """Moves an exact model (`Mixture.denoiser`) so that its mean is the mean of the last batch, its shape kept.

    The idealised fine-tuning: ``xbar <- xbar + delta P g / (noise^2 + |P g|^2)`` on ``N(mu, P)``, without regularizer.
    """

    def check(self, model: Any, cond: PyTree) -> None:
        """Raise ValueError for a model that is not exact."""
        if not (isinstance(getattr(model, "params", None), tuple) and isinstance(model.params[0], Mixture)):
            raise ValueError(f"model={type(model).__name__} is no Mixture.denoiser; Recentre moves exact models only")

    def init(self, model: Any, batch: int, dtype: Any) -> PyTree:
        """The distribution's means, which are all that changes."""
        return model.params[0].means

    def update(
        self, key: PRNGKeyArray, number: int, model: Any, state: PyTree, z: Array, cond: PyTree
    ) -> tuple[Any, PyTree]:
        """The model for the next round, given the batch ``z``."""
        data = model.params[0]
        data = data.replace(means=data.means + (z.mean(0) - data.mean).astype(data.means.dtype))
        return model.replace(params=(data, *model.params[1:])), data.means


def inner(model: Any) -> Any:
    """The network's denoiser inside transforms such as classifier-free guidance."""
    while not hasattr(model, "params") and hasattr(model, "model"):
        model = model.model
    return model


def params_of(model: Any) -> PyTree:
    """The weights that fine-tuning changes."""
    return getattr(inner(model), "params", None)


def with_params(model: Any, params: PyTree) -> Any:
    """The same model with other weights."""
    if hasattr(model, "params"):
        return model.replace(params=params)
    return model.replace(model=with_params(model.model, params))


def _adam(learning_rate: Any) -> optax.GradientTransformation:
    return optax.adam(learning_rate, b1=0.9, b2=0.99)


@partial(jax.jit, static_argnames=("given", "steps"))
def _steps(
    key: PRNGKeyArray, params: PyTree, state: PyTree, model: Any, past: Array, *, data: Array | None, cond: PyTree,
    weights: Array, learning_rate: ArrayLike, t_min: ArrayLike, given: Any, steps: int,
) -> tuple[PyTree, PyTree]:  # fmt: skip
    optimizer = _adam(learning_rate) if given is None else given
    memory, batch = past.shape[:2]

    def step(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
        params, state = carry
        pick, noise = jax.random.split(key)
        if memory == 1 and data is None:
            points, conds = past[0], cond
        else:
            points, conds = _draw(pick, past, data, cond, weights)
        gradient = jax.grad(lambda params: _eps_error(noise, model.replace(params=params), points, conds, t_min))(
            params
        )
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), jax.random.split(key, steps))[0]


def _draw(key: PRNGKeyArray, past: Array, data: Array | None, cond: PyTree, weights: Array) -> tuple[Array, PyTree]:
    """A minibatch as large as a round's: first the source by its weight, then a member."""
    memory, batch = past.shape[:2]
    sources, members, rows = jax.random.split(key, 3)
    source = jax.random.choice(sources, memory + 1, (batch,), p=weights)
    member = jax.random.randint(members, (batch,), 0, batch)
    points = past[jnp.minimum(source, memory - 1), member]
    if data is not None:
        row = jax.random.randint(rows, (batch,), 0, len(data))
        fresh = (source == memory).reshape(-1, *[1] * (points.ndim - 1))
        points = jnp.where(fresh, jnp.asarray(data)[row].astype(points.dtype), points)
    return points, jax.tree.map(lambda leaf: jnp.asarray(leaf)[member], cond)


def _eps_error(key: PRNGKeyArray, model: Any, points: Array, cond: PyTree, t_min: ArrayLike) -> Array:
    times, noise = jax.random.split(key)
    t = _times(times, model.schedule, len(points), t_min).astype(points.dtype)
    eps = jax.random.normal(noise, points.shape, points.dtype)

    def one(at: dict[str, Any]) -> Array:
        level = model.schedule.level(at["t"])
        x = (level.alpha * at["x0"] + level.sigma * at["eps"]).astype(points.dtype)
        return jnp.mean((model(x, at["t"], at["cond"]).eps - at["eps"]) ** 2)

    return map_samples(one, {"x0": points, "eps": eps, "t": t, "cond": cond}).mean()


def _times(key: PRNGKeyArray, schedule: Schedule, count: int, t_min: ArrayLike) -> Array:
    if isinstance(schedule, Discrete):
        return (jax.random.randint(key, (count,), 0, schedule.num_nodes) + 1) / schedule.num_nodes
    return jnp.asarray(t_min + (schedule.t_start - t_min) * jax.random.uniform(key, (count,)))
