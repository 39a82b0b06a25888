"""The type checker of the test run: beartype on every call, except on constructors.

JAX rebuilds a pytree dataclass by calling its constructor with whatever a transformation carries: batched tracers,
shapes, placeholders. A constructor whose annotations were enforced would break `vmap`, `scan` and `eval_shape`.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its annotations enforced by beartype, or as it is if it is a constructor."""
    return function if getattr(function, "__name__", None) == "__init__" else beartype(function)
