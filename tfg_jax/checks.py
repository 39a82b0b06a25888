"""Argument checks for public functions, and norms whose gradient is finite at zero.

Shapes and dtypes are always checked; values only when they are concrete, so the same functions work under jit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def is_concrete(value: Any) -> bool:
    """True if the value can be read now, that is, outside of jit, grad and vmap."""
    return not isinstance(value, Tracer)


def check_number(
    name: str, value: Any, *, low: float | None = None, high: float | None = None, strict: bool = False
) -> None:
    """Raise ValueError unless ``value`` is one real number, and if concrete finite and in [low, high]
    (``strict``: > low); None passes."""
    if value is None:
        return
    check_real(name, value)
    if np.shape(value) != ():
        raise ValueError(f"{name} has shape {np.shape(value)}, one number is needed; map over several with jax.vmap")
    check_numbers(name, value, low=low, high=high, strict=strict)


def check_real(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a real number or an array of them."""
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise ValueError(f"{name}={show(value)} must be a real number")


def check_numbers(
    name: str, value: Any, *, low: float | None = None, high: float | None = None, strict: bool = False
) -> None:
    """Raise ValueError unless all concrete entries of ``value`` are finite and in [low, high] (``strict``: > low)."""
    if value is None:
        return
    check_real(name, value)
    if not is_concrete(value):
        return
    numbers = np.asarray(value, np.float64)
    bound = "a finite number" if low is None else f"a finite number {'>' if strict else '>='} {low:g}"
    bound += "" if high is None else f" and <= {high:g}"
    bad = ~np.isfinite(numbers)
    if low is not None:
        bad |= (numbers <= low) if strict else (numbers < low)
    if high is not None:
        bad |= numbers > high
    if np.any(bad):
        raise ValueError(f"{name}={show(value)} must be {bound}")


def check_count(name: str, value: Any, low: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer >= ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name}={show(value)} must be an integer >= {low}")


def check_choice(name: str, value: Any, choices: tuple[str | int, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str | int) or value not in choices:
        raise ValueError(f"{name}={show(value)} is unknown; choose one of {', '.join(map(str, choices))}")


def show(value: Any) -> str:
    """``value`` in at most 60 letters on one line, for messages: a large array by its shape, all else by its repr."""
    if isinstance(value, Tracer) or (hasattr(value, "dtype") and np.size(value) > 6):
        text = f"an array of shape {tuple(value.shape)}"
    elif isinstance(value, str | bool | int | float | complex | np.ndarray | np.generic) or _is_array(value):
        text = np.array2string(np.asarray(value))
    else:
        text = repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.extended)


def safe_abs(x: Array, floor: float = 1e-12) -> Array:
    """``max(|x|, floor)``: a divisor that never is zero."""
    return jnp.maximum(jnp.abs(x), floor)


def safe_norm(x: Array) -> Array:
    """Euclidean norm over all entries, with gradient 0 (not NaN) at x = 0."""
    total = jnp.sum(x * x)
    nonzero = total > 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, total, 1.0)), 0.0)


@jax.custom_batching.custom_vmap
def is_batched(flag: Array) -> Array:
    """Whether a vmap maps ``flag``: a condition on it then is a select, which computes both of its branches."""
    return jnp.zeros_like(flag)


@is_batched.def_vmap
def _mapped(axis_size: int, in_batched: list, flag: Array) -> tuple[Array, bool]:
    return jnp.ones(flag.shape[1:], flag.dtype), False
