"""The one form of the numbers that configurations hold: 1, 1.0, np.float64(1) and jnp.asarray(1.0) are one program.

A number is what a field declares as one, or annotates so (``ArrayLike``, ``float``). One that can be read becomes a
Python number, which takes the precision of what it meets; an array, or a number under a trace, takes that of the
samples. So no number changes the type of a sample.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from tfg_jax import struct
from tfg_jax.checks import is_concrete
from tfg_jax.declare import describe
from tfg_jax.per_sample import PerSample

T = TypeVar("T")


def one_form(config: T, dtype: DTypeLike) -> T:
    """``config`` with all its numbers in one form, those of the configurations it holds as well.

    Args:
        config: a model, method, sampler, objective, ..., or a tuple of them; all else is returned as it is.
        dtype: precision of the samples.
    """
    if isinstance(config, tuple | list) and type(config) in (tuple, list):
        return type(config)([one_form(part, dtype) for part in config])  # type: ignore[return-value]
    if not (dataclasses.is_dataclass(config) and hasattr(type(config), "replace")) or isinstance(config, type):
        return config
    if struct.once(config, _is_in_form):
        return config  # type: ignore[return-value]
    return _formed(config, dtype)


def _is_in_form(config: Any) -> bool:
    """Whether all numbers are in their one form, which is one for every dtype, as it is in none that holds arrays."""
    return _formed(config, jnp.float32) is config


def _formed(config: Any, dtype: DTypeLike) -> Any:
    changed, ours = {}, type(config).__module__.partition(".")[0] == "tfg_jax"
    for field in describe(type(config)):
        if not field.traced or field.annotation is PyTree:  # weights of networks: an integer there may be an index
            continue
        value = getattr(config, field.name)
        form = number if field.spec.kind == "number" and (ours or not _is_whole(value)) else one_form
        new = form(value, dtype)
        if new is not value:
            changed[field.name] = new
    return struct.with_fields(config, **changed) if changed else config


def _is_whole(value: Any) -> bool:
    """Whether ``value`` is an integer or holds some, which in a class of the user's own may be indices."""
    return isinstance(value, int) or jnp.issubdtype(getattr(value, "dtype", np.float32), jnp.integer)


def number(value: Any, dtype: DTypeLike) -> Any:
    """One number, or an array of them, in its one form; None, functions and all else as `one_form` makes them."""
    if type(value) is float or value is None:
        return value
    if isinstance(value, PerSample):
        return PerSample(number(value.values, dtype))
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.number | np.ndarray | jax.Array):
        return one_form(value, dtype)
    if not any(jnp.issubdtype(jnp.result_type(value), kind) for kind in (jnp.floating, jnp.integer)):
        return value
    if np.ndim(value) == 0 and is_concrete(value):
        return float(value)
    return jnp.asarray(value).astype(dtype)
