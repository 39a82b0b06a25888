"""Operators that a suite describes beside `tfg_jax.tasks.PROBLEMS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tfg_jax import operators

Shape = tuple[int, int, int]


def hidden(shape: Shape, of: int, rows: Sequence[Sequence[int]] = (), columns: Sequence[Sequence[int]] = ()) -> Any:
    """Inpainting of rows and columns: pairs (first, one past the last) of a side of ``of``, scaled to the image."""
    mask = np.ones(shape, np.float32)
    for axis, spans in enumerate((rows, columns)):
        for low, high in spans:
            first, last = (round(end * shape[axis] / of) for end in (low, high))
            mask[(slice(None),) * axis + (slice(first, last),)] = 0.0
    return operators.inpainting(mask)


OPERATORS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "gaussian_blur": operators.gaussian_blur,
        "super_resolution": operators.super_resolution,
        "hidden": hidden,
    }
)
"""By name; called with the shape of the images and the other keys."""


def operator_of(described: Mapping[str, Any], shape: Shape) -> Any:
    """The operator on images of a shape. ValueError for values that it does not take."""
    options = {key: value for key, value in described.items() if key != "type"}
    try:
        return OPERATORS[described["type"]](shape, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"operator={dict(described)} does not fit images of {shape} ({error}); mend it") from None
