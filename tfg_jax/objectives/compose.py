"""Objectives from objectives: weighted sums, and objectives seen through a decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_number
from tfg_jax.kinds import public
from tfg_jax.networks import check_function
from tfg_jax.objectives.base import Around, Objective, as_objective, is_usable, log_weight, output_shape, uses_cond
from tfg_jax.objectives.inverse import Residual, as_pytree


@struct.dataclass
class Weighted(Around):
    """``weight * objective``; build it with `weighted`."""

    objective: Any
    weight: ArrayLike

    def __call__(self, x: PyTree, *target_and_level: Any, **cond: Any) -> Float[Array, ""]:
        return self.weight * self.objective(x, *target_and_level, **cond)


@struct.dataclass
class Sum:
    """The sum of several objectives, each with its own target; build it with `total`."""

    parts: tuple[Any, ...]

    @property
    def noisy(self) -> bool:
        """As the parts'."""
        return self.parts[0].noisy

    @property
    def crosses_zero(self) -> bool:
        """Whether a part does."""
        return any(getattr(part, "crosses_zero", False) for part in self.parts)

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """The target must be a tuple with one target a part."""
        if not isinstance(target, tuple | list) or len(target) != len(self.parts):
            raise ValueError(f"target must be a tuple of {len(self.parts)} targets, one for each summed objective")
        for part, one in zip(self.parts, target, strict=True):
            part.check(one, num_samples, shape)

    def usable(self, target: PyTree) -> Array:
        """Whether the target of every part is."""
        return jnp.all(jnp.stack([is_usable(*each) for each in zip(self.parts, target, strict=True)]))

    @property
    def uses_cond(self) -> bool:
        """Whether a part does."""
        return any(map(uses_cond, self.parts))

    def __call__(self, x: PyTree, target: Any, *level: Any, cond: PyTree = None) -> Float[Array, ""]:
        values = (log_weight(part, x, one, cond, *level) for part, one in zip(self.parts, target, strict=True))
        return sum(values, jnp.zeros((), jnp.result_type(*jax.tree.leaves(x))))


@struct.dataclass
class Through(Around):
    """An objective of decoded samples, for latent models; build it with `through`."""

    decoder: Callable[[Array], Array]
    objective: Any

    def check(self, target: PyTree, num_samples: int, shape: Any) -> None:
        """As the objective's, at the decoded shape; a measurement's, at what it makes of decoded samples."""
        if isinstance(self.objective, Residual):
            measured = jax.tree_util.Partial(_measured, self.decoder, self.objective.operator)
            self.objective.replace(operator=measured).check(target, num_samples, shape)  # type: ignore[attr-defined]
        else:
            self.objective.check(target, num_samples, output_shape(self.decoder, shape))

    def __call__(self, x0: PyTree, target: Any, **cond: Any) -> Float[Array, ""]:
        return self.objective(self.decoder(x0), target, **cond)


def _measured(decoder: Any, operator: Any, x0: Array) -> Array:
    return operator(decoder(x0))


@public
def weighted(objective: Objective | Callable[..., Array], weight: ArrayLike) -> Weighted:
    """``weight * objective``; the weight is finite and traced, negative weights push away."""
    check_number("weight", weight)
    return Weighted(as_objective(objective), weight)


@public
def total(*objectives: Objective | Callable[..., Array]) -> Sum:
    """The sum of objectives: the product of their densities. The target is a tuple with one target each.

    Raises:
        ValueError: nothing to sum, or objectives of clean and of noisy samples mixed.
    """
    if not objectives:
        raise ValueError("total() needs at least one objective; pass them as arguments")
    parts = tuple(map(as_objective, objectives))
    if len({bool(part.noisy) for part in parts}) > 1:
        raise ValueError("total() got objectives of clean and of noisy samples; sum one kind only")
    return Sum(parts)


@public
def through(decoder: Callable[[Array], Array], objective: Objective | Callable[..., Array]) -> Through:
    """``objective(decoder(x0))`` for latent models; the decoder maps one latent to one sample and is a pytree.

    Raises:
        ValueError: the objective is one of noisy samples.
    """
    check_function("decoder", decoder, "(x)", static=False)
    objective = as_objective(objective)
    if objective.noisy:
        raise ValueError("through() decodes clean samples, got an objective of noisy samples; use one of clean samples")
    return Through(as_pytree(decoder), objective)
