"""The devices of this process: the samples of a chunk are split over them, and nothing is sent between them.

Weights are on each of them, or split over some that hold a network together, which then exchange activations.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tfg_jax.denoiser import Denoiser

SAMPLES, WEIGHTS = "samples", "weights"
LEAST_NUMBERS = 2**16
"""In arrays that are split: smaller ones are on every device."""


def local_mesh(split: int = 1) -> Mesh | None:
    """All devices of this process; None where it is a single one, or a mesh would be of no use.

    Args:
        split: how many of them hold the weights together, >= 1; 1 has all weights on each.

    Raises:
        ValueError: devices that cannot be put together so.
    """
    devices = jax.local_devices()
    if split < 1 or len(devices) % split:
        raise ValueError(
            f"split_weights={split} must divide the {len(devices)} devices of this process; give 1 or such"
        )
    if len(devices) == 1:
        return None
    return Mesh(np.reshape(devices, (-1, split)), (SAMPLES, WEIGHTS), axis_types=(AxisType.Auto, AxisType.Auto))


def takes_mesh(task: Any) -> bool:
    """Whether a task samples over several devices: one whose own `sample` has no ``sharding`` does not."""
    return "sharding" in inspect.signature(task.sample).parameters


def on(mesh: Mesh) -> dict[str, NamedSharding]:
    """How samples are split over it, as an argument of a task's `sample`."""
    return {"sharding": NamedSharding(mesh, PartitionSpec(SAMPLES))}


def whole_parts(chunk: int, mesh: Mesh) -> int:
    """The chunk, made longer until each device has as many samples as the others."""
    return -(-chunk // mesh.shape[SAMPLES]) * mesh.shape[SAMPLES]


def split_rule(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """How an array of weights is split: by its last axis that divides, if it holds many numbers; else on every device.

    The last axis is the outputs of a layer, whose products then need no sum over devices.
    """
    fits = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not fits or math.prod(shape) < LEAST_NUMBERS:
        return PartitionSpec()
    return PartitionSpec(*(WEIGHTS if axis == fits[-1] else None for axis in range(len(shape))))


def on_mesh(task: Any, mesh: Mesh) -> Any:
    """A task with its arrays on the devices, by `split_rule`: they are sent there once."""

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        return jax.device_put(leaf, NamedSharding(mesh, split_rule(leaf.shape, mesh.shape[WEIGHTS])))

    return jax.tree.map(place, task)


def in_dtype(model: Any, dtype: Any) -> Any:
    """A model, or a transform of some, whose networks work in a precision; None is that of their weights."""
    cast = lambda part: part.astype(dtype) if isinstance(part, Denoiser) and dtype is not None else part  # noqa: E731
    return jax.tree.map(cast, model, is_leaf=lambda part: isinstance(part, Denoiser))


def network_dtype(model: Any) -> str | None:
    """The precision that a model's network was told to work in, by name; None if it was not."""
    parts = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, Denoiser))
    told = [part.dtype for part in parts if isinstance(part, Denoiser) and part.dtype is not None]
    return np.dtype(told[0]).name if told else None
