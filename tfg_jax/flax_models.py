"""Denoisers from ordinary batched Flax networks, NNX and Linen: they add and strip the batch axis of one sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.checks import show
from tfg_jax.denoiser import Denoiser, from_fn
from tfg_jax.kinds import public
from tfg_jax.networks import check_evaluation, is_array
from tfg_jax.schedules import Schedule


@struct.dataclass
class NnxApply:
    """Calls a batched Flax NNX network on one sample, adding and stripping the batch axis; hashable for jit's cache."""

    graphdef: Any = struct.field(pytree_node=False)
    call: tuple[tuple[str, Any], ...] = struct.field(pytree_node=False, default=())

    def __call__(self, params: PyTree, x: Array, t: Array, cond: Any) -> Array:
        from flax import nnx

        inputs = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (x, t) if cond is None else (x, t, cond))
        module = nnx.merge(self.graphdef, params)
        before = _changing(module)
        out = _first(module(*inputs, **dict(self.call)))
        after = _changing(module)
        for path, value in before.items():
            if value is not after.get(path):
                raise ValueError(
                    f"the network's {path} changes while it runs, as in training; call it with its flag for "
                    "evaluation, such as call={'train': False}, after .eval()"
                )
        return out


@struct.dataclass
class LinenApply:
    """Calls a batched Flax Linen network on one sample, adding and stripping the batch axis."""

    module: Any = struct.field(pytree_node=False)
    call: tuple[tuple[str, Any], ...] = struct.field(pytree_node=False, default=())

    def __call__(self, params: PyTree, x: Array, t: Array, cond: Any) -> Array:
        inputs = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (x, t) if cond is None else (x, t, cond))
        return _first(self.module.apply(params, *inputs, **dict(self.call)))


def _changing(module: Any) -> dict[str, Any]:
    """What a network in training writes: running statistics and counts of random draws."""
    from flax import nnx

    state = nnx.to_flat_state(nnx.state(module, nnx.Any(nnx.BatchStat, nnx.RngCount)))
    return {".".join(map(str, path)): variable.get_value() for path, variable in state}


def _first(batch: Any) -> Any:
    """The one sample of a batched output; what is no array goes on as it is, to be refused by name."""
    return batch[0] if is_array(batch) else batch


def _flags(call: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    flags = tuple(sorted((call or {}).items()))
    try:
        hash(flags)
    except TypeError:
        raise ValueError(f"call={show(call)} holds values that cannot be static; give flags and numbers") from None
    return flags


@public
def from_nnx(module: Any, schedule: Schedule, *, call: Mapping[str, Any] | None = None, **options: Any) -> Denoiser:
    """A denoiser from an ordinary batched Flax NNX network ``module(x, t[, cond])``, x of shape (batch, *shape).

    Args:
        module: the network; put it in evaluation mode first (``module.eval()``).
        schedule: the schedule it was trained on.
        call: further keyword arguments of every call, static, e.g. ``{"train": False}``.
        **options: as `from_fn`; prediction and shape are required.

    Raises:
        ValueError: no NNX module, or one with a layer in training mode; as `from_fn`.
    """
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise ValueError(f"module={show(module)} is no Flax NNX module; pass an instance, or use from_linen or from_fn")
    check_evaluation("module", module)
    graphdef, state = nnx.split(module)
    return from_fn(NnxApply(graphdef, _flags(call)), nnx.to_pure_dict(state), schedule, **options)


@public
def from_linen(
    module: Any, variables: Any, schedule: Schedule, *, call: Mapping[str, Any] | None = None, **options: Any
) -> Denoiser:
    """A denoiser from an ordinary batched Flax Linen network ``module.apply(variables, x, t[, cond])``.

    Args:
        module: the network.
        variables: its variable collections, ``{"params": ...}``.
        schedule: the schedule it was trained on.
        call: further keyword arguments of every call, static, e.g. ``{"train": False}``.
        **options: as `from_fn`; prediction and shape are required.

    Raises:
        ValueError: no Linen module, or variables without collections; as `from_fn`.
    """
    from flax import linen

    if not isinstance(module, linen.Module):
        raise ValueError(f"module={show(module)} is no Flax Linen module; pass an instance, or use from_nnx or from_fn")
    if not isinstance(variables, Mapping):
        raise ValueError(
            f"variables={show(variables)} must be collections such as {{'params': ...}}, as init gives them"
        )
    return from_fn(LinenApply(module, _flags(call)), variables, schedule, **options)
