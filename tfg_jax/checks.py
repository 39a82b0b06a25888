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

MAX_STEPS = 1_000_000
MAX_SEED = 2**32 - 1
"""JAX makes keys of 32 bits of a seed: a larger one would be that of a smaller."""


def is_concrete(value: Any) -> bool:
    """True if the value can be read now: outside of jit, grad and vmap, and where no other host holds a part of it."""
    return not isinstance(value, Tracer) and getattr(value, "is_fully_addressable", True)


def check_number(name: str, value: Any, **bounds: Any) -> None:
    """Raise ValueError unless ``value`` is one real number, within ``bounds`` as of `check_numbers`; None passes."""
    if value is None:
        return
    check_one(name, value)
    check_numbers(name, value, **bounds)


def check_one(name: str, value: Any, several: str = "map over several with jax.vmap") -> None:
    """Raise ValueError unless ``value`` is one real number; its value is not looked at."""
    check_real(name, value)
    if np.shape(value) != ():
        raise ValueError(f"{name} has shape {np.shape(value)}, one number is needed; {several}")


def check_real(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a real number or an array of them."""
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise ValueError(f"{name}={show(value)} must be a real number")


def check_numbers(
    name: str, value: Any, *, low: float | None = None, high: float | None = None, strict: bool = False,
    infinite: bool = False,
) -> None:  # fmt: skip
    """Raise ValueError unless all concrete entries of ``value`` are finite and in [low, high] (``strict``: > low).

    ``infinite`` allows infinities within the bounds.
    """
    if value is None:
        return
    check_real(name, value)
    if not is_concrete(value):
        return
    numbers = np.asarray(value, np.float64)
    word = "a number, or infinite" if infinite else "a finite number"
    bound = word if low is None else f"{word} {'>' if strict else '>='} {low:g}"
    bound += "" if high is None else f" and <= {high:g}"
    bad = np.isnan(numbers) if infinite else ~np.isfinite(numbers)
    if low is not None:
        bad |= (numbers <= low) if strict else (numbers < low)
    if high is not None:
        bad |= numbers > high
    if np.any(bad):
        raise ValueError(f"{name}={show(value)} must be {bound}")


def check_order(low_name: str, low: Any, high_name: str, high: Any, *, equal: bool = False) -> None:
    """Raise ValueError unless low < high (``equal``: <=), where both can be read now."""
    if not (is_concrete(low) and is_concrete(high)):
        return
    below, above = np.asarray(low), np.asarray(high)
    if not np.all(below <= above if equal else below < above):
        low, high = (value if isinstance(value, int | float) else show(value) for value in (low, high))
        raise ValueError(f"{low_name}={low} must be {'at most' if equal else 'below'} {high_name}={high}")


def readable(name: str, value: Any) -> np.ndarray:
    """``value`` as float64 numbers of the host; raise ValueError if it is traced or not real."""
    if not all(is_concrete(leaf) for leaf in jax.tree.leaves(value)):
        raise ValueError(
            f"{name} is traced, but its values are read when this is made; make it outside of jit, vmap and lax.map, "
            "then pass it in or close over it"
        )
    check_real(name, value)
    return np.asarray(value, np.float64)


def check_count(name: str, value: Any, low: int = 1, high: int | None = None) -> None:
    """Raise ValueError unless ``value`` is an integer >= ``low``, and <= ``high`` if that is given."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        static = " of Python, since it is not traced" if isinstance(value, jax.Array) else ""
        raise ValueError(f"{name}={show(value)} must be an integer >= {low}{static}")
    if high is not None and value > high:
        raise ValueError(f"{name}={show(value)} must be at most {high}")


def check_seed(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is an integer in 0..4,294,967,295."""
    check_count(name, value, 0, MAX_SEED)


def check_steps(steps: Any) -> None:
    """Raise ValueError unless ``steps`` is an integer in 1..1,000,000: each step has entries in arrays of the grid."""
    check_count("steps", steps, high=MAX_STEPS)


def check_choice(name: str, value: Any, choices: tuple[str | int, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str | int) or value not in choices:
        raise ValueError(f"{name}={show(value)} is unknown; choose one of {', '.join(map(str, choices))}")


def show(value: Any) -> str:
    """``value`` in at most 60 letters on one line, for messages: a large array by its shape, all else by its repr."""
    if isinstance(value, type):
        text = value.__name__
    elif isinstance(value, Tracer) or (hasattr(value, "dtype") and np.size(value) > 6):
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


def safe_sqrt(x: Array) -> Array:
    """``sqrt(x)``, with derivative 0 (not infinite, nor NaN for what does not depend on it) at x = 0."""
    zero = x == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x)))


def squared(x: Array) -> Array:
    """``|x|^2`` of real or complex entries, with a gradient everywhere."""
    return x.real * x.real + x.imag * x.imag if jnp.iscomplexobj(x) else x * x


def real_parts(A: Array, y: Array) -> tuple[Array, Array]:
    """A complex measurement y by A of real samples as the real one of both parts; a real one as it is."""
    if not (jnp.iscomplexobj(A) or jnp.iscomplexobj(y)):
        return A, y
    return jnp.concatenate([A.real, A.imag]), jnp.concatenate([y.real, y.imag])


def safe_norm(x: Array) -> Array:
    """Euclidean norm over all entries, real or complex, with gradient 0 (not NaN) at x = 0."""
    total = jnp.sum(squared(x))
    nonzero = total > 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, total, 1.0)), 0.0)


@jax.custom_batching.custom_vmap
def is_batched(flag: Array) -> Array:
    """Whether a vmap maps ``flag``: a condition on it then is a select, which computes both of its branches."""
    return jnp.zeros_like(flag)


@is_batched.def_vmap
def _mapped(axis_size: int, in_batched: list, flag: Array) -> tuple[Array, bool]:
    return jnp.ones(flag.shape[1:], flag.dtype), False
