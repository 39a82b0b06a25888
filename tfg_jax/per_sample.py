"""Numbers inside a model that differ from sample to sample."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import check_numbers, check_one, show


@struct.dataclass
class PerSample:
    """One value a sample for a number inside a model, e.g. ``CFG(model, w=PerSample(weights))``; for `tfg_jax.sample`.

    Attributes:
        values: (n, ...), one entry for each of the n samples of the run (traced).
    """

    values: Array


@struct.dataclass
class Own:
    """Where a model's `PerSample` number was, until `with_own` fills it."""


def check_model_number(
    name: str, value: Any, num_samples: int | None, *, each: tuple[int, ...] = (), **bounds: Any
) -> None:
    """Raise ValueError unless a number inside a model, or one a sample as `PerSample`, is real and within its bounds.

    Args:
        name: what it is called.
        value: the number; None passes, and so does the place of one that `split_per_sample` took out.
        num_samples: how many samples there are; None where that is not known yet.
        each: its shape for one sample, where it is several numbers.
        **bounds: as `tfg_jax.checks.check_numbers`.
    """
    if value is None or isinstance(value, Own):
        return
    if isinstance(value, PerSample):
        if not hasattr(value.values, "shape"):
            raise ValueError(f"{name}=PerSample({show(value.values)}) needs an array; pass jnp.asarray(values)")
        value, shape = value.values, np.shape(value.values)
        if num_samples is not None and shape[:1] != (num_samples,):
            raise ValueError(f"{name}=PerSample(shape {shape}) needs one entry for {num_samples} samples")
        if shape[1:] != each:
            samples = "the samples" if num_samples is None else f"{num_samples} samples"
            raise ValueError(f"{name}=PerSample(shape {shape}) needs entries of shape {each} for {samples}")
    elif not each:
        check_one(name, value, "give PerSample(values) for one a sample, or map over several with jax.vmap")
    elif np.shape(value) != each:
        raise ValueError(f"{name} has shape {np.shape(value)} and must hold {each[0]} weights, one for each condition")
    check_numbers(name, value, **bounds)


def split_per_sample(model: Any) -> tuple[Any, list[Array]]:
    """The model without the values of its `PerSample` numbers, and those values."""
    if not struct.once(model, _has_own):
        return model, []
    leaves, structure = jax.tree.flatten(model, is_leaf=_is_per_sample)
    own = [leaf.values for leaf in leaves if isinstance(leaf, PerSample)]
    return structure.unflatten([Own() if isinstance(leaf, PerSample) else leaf for leaf in leaves]), own


def _has_own(model: Any) -> bool:
    return any(isinstance(leaf, PerSample) for leaf in jax.tree.leaves(model, is_leaf=_is_per_sample))


def _is_per_sample(node: Any) -> bool:
    return isinstance(node, PerSample)


def with_own(model: Any, values: list[Array]) -> Any:
    """The model of one sample, from its share of the values that `split_per_sample` took out."""
    if not values:
        return model
    leaves, structure = jax.tree.flatten(model, is_leaf=lambda node: isinstance(node, Own))
    rest = iter(values)
    return structure.unflatten([next(rest) if isinstance(leaf, Own) else leaf for leaf in leaves])
