"""Functions of one sample from modules of every library, with weights that can be traced.

    Flax NNX, Flax Linen      batched by their convention: the batch axis of one sample is added and stripped
    Equinox, any pytree       called itself; its arrays are the weights, all else is static
    init/apply pairs          Haiku's and its like: ``apply(params, ...)``, or ``apply(params, rng, ...)`` without a key
    batched functions         exported programs, host callbacks: a mapped call is one call of the whole batch

Networks and objectives are both made of these; what a function returns is theirs to check.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tfg_jax import struct
from tfg_jax.checks import show
from tfg_jax.networks import NoGradient, check_evaluation, is_array, is_traceable

HOLE = type("Hole", (), {"__repr__": lambda self: "array"})()
"""Stands in the fixed part of partitioned weights for a leaf that is traced."""


@struct.dataclass
class OneSample:
    """A batched function ``(params, *batches)`` as one of one sample: adds and strips the batch axis; hashable."""

    batched: Callable[..., Any] = struct.field(pytree_node=False)

    def __call__(self, params: PyTree, *inputs: Any) -> Any:
        out = self.batched(params, *jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], inputs))
        # What is no array goes on as it is, to be refused by name.
        return jax.tree.map(lambda leaf: leaf[0] if is_array(leaf) else leaf, out)


@struct.dataclass
class NnxCall:
    """Calls a Flax NNX module, without the inputs that are None."""

    graphdef: Any = struct.field(pytree_node=False)
    call: tuple[tuple[str, Any], ...] = struct.field(pytree_node=False, default=())

    def __call__(self, params: PyTree, *inputs: Any) -> Any:
        from flax import nnx

        module = nnx.merge(self.graphdef, params)
        before = _changing(module)
        out = module(*[each for each in inputs if each is not None], **dict(self.call))
        after = _changing(module)
        for path, value in before.items():
            if value is not after.get(path):
                raise ValueError(
                    f"the network's {path} changes while it runs, as in training; call it with its flag for "
                    "evaluation, such as call={'train': False}, after .eval()"
                )
        return out


@struct.dataclass
class LinenCall:
    """Calls a Flax Linen module, without the inputs that are None."""

    module: Any = struct.field(pytree_node=False)
    call: tuple[tuple[str, Any], ...] = struct.field(pytree_node=False, default=())

    def __call__(self, params: PyTree, *inputs: Any) -> Any:
        return self.module.apply(params, *[each for each in inputs if each is not None], **dict(self.call))


@struct.dataclass
class WithoutKey:
    """Haiku's ``apply(params, rng, ...)`` as a function of ``(params, ...)``."""

    apply: Callable[..., Any] = struct.field(pytree_node=False)

    def __call__(self, params: PyTree, *inputs: Any, **named: Any) -> Any:
        return self.apply(params, None, *inputs, **named)


@struct.dataclass
class OneCall:
    """A batched function ``(params, *batches)`` that is called once however it is mapped.

    It is differentiated as a whole, in its first batch; a pullback repeats the call.
    """

    fn: Callable[..., Any] = struct.field(pytree_node=False)

    def __call__(self, params: PyTree, *inputs: Any) -> Any:
        return _once(self.fn, params, inputs)


def _changing(module: Any) -> dict[str, Any]:
    """What a network in training writes: running statistics and counts of random draws."""
    from flax import nnx

    state = nnx.to_flat_state(nnx.state(module, nnx.Any(nnx.BatchStat, nnx.RngCount)))
    return {".".join(map(str, path)): variable.get_value() for path, variable in state}


def _mapped_at_once(fn: Callable[..., Any], params: PyTree, inputs: tuple) -> Any:
    """``fn(params, *inputs)``, of which a vmap makes one call with all the batches joined."""

    @jax.custom_batching.custom_vmap
    def call(params: PyTree, inputs: tuple) -> Any:
        return fn(params, *inputs)

    @call.def_vmap
    def _(size: int, batched: list, params: PyTree, inputs: tuple) -> tuple[Any, Any]:
        if any(jax.tree.leaves(batched[0])):
            raise ValueError("the weights of a batched network are mapped over; give it one set of weights")
        each = jax.tree.map(lambda a, own: a if own else jnp.broadcast_to(a, (size, *a.shape)), inputs, batched[1])
        joined = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), each)
        out = _mapped_at_once(fn, params, joined)
        return jax.tree.map(lambda a: a.reshape(size, -1, *a.shape[1:]), out), jax.tree.map(lambda _: True, out)

    return call(params, inputs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _once(fn: Callable[..., Any], params: PyTree, inputs: tuple) -> Any:
    return _mapped_at_once(fn, params, inputs)


def _forward(fn: Callable[..., Any], params: PyTree, inputs: tuple) -> tuple[Any, tuple]:
    is_leaf = lambda leaf: hasattr(leaf, "perturbed")  # noqa: E731
    if any(leaf.perturbed for leaf in jax.tree.leaves(params, is_leaf=is_leaf)):
        raise NoGradient("a batched network gives no gradient in its weights; use from_fn, from_nnx or from_linen")
    params, inputs = jax.tree.map(lambda leaf: leaf.value, (params, inputs), is_leaf=is_leaf)
    return _mapped_at_once(fn, params, inputs), (params, inputs)


def _backward(fn: Callable[..., Any], kept: tuple, cotangent: Any) -> tuple:
    params, inputs = kept

    def pullback(params: PyTree, inputs: tuple, cotangent: Any) -> Any:
        try:
            return jax.vjp(lambda first: fn(params, first, *inputs[1:]), inputs[0])[1](cotangent)[0]
        except Exception as error:  # whatever a program of the user's own raises where it is differentiated
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:90]
            raise NoGradient(f"the network cannot be differentiated ({why})") from error

    return None, (_mapped_at_once(pullback, params, (inputs, cotangent)), *[None for _ in inputs[1:]])


_once.defvjp(_forward, _backward, symbolic_zeros=True)


def nnx_function(module: Any, call: Mapping[str, Any] | None) -> tuple[OneSample, PyTree]:
    """A batched Flax NNX module as a function of weights and one sample, and its weights.

    Raises:
        ValueError: no NNX module, one in training mode, or flags that cannot be static.
    """
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise ValueError(f"module={show(module)} is no Flax NNX module; pass an instance, or use from_linen or from_fn")
    check_evaluation("module", module)
    graphdef, state = nnx.split(module)
    return OneSample(NnxCall(graphdef, _flags(call))), nnx.to_pure_dict(state)


def linen_function(module: Any, variables: Any, call: Mapping[str, Any] | None) -> OneSample:
    """A batched Flax Linen module as a function of its variables and one sample.

    Raises:
        ValueError: no Linen module, variables that are no collections, or flags that cannot be static.
    """
    from flax import linen

    if not isinstance(module, linen.Module):
        raise ValueError(f"module={show(module)} is no Flax Linen module; pass an instance, or use from_nnx or from_fn")
    if not isinstance(variables, Mapping):
        raise ValueError(
            f"variables={show(variables)} must be collections such as {{'params': ...}}, as init gives them"
        )
    ends = {str(getattr(path[-1], "key", "")) for path, _ in jax.tree.leaves_with_path(variables)}
    if "params" not in variables and ends & {"kernel", "bias", "scale", "embedding"}:
        raise ValueError(
            f"variables has no collection 'params' but {', '.join(map(str, variables))[:60]}; pass all that init "
            "gave, or {'params': ...} around these"
        )
    return OneSample(LinenCall(module, _flags(call)))


def _flags(call: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    flags = tuple(sorted((call or {}).items()))
    try:
        hash(flags)
    except TypeError:
        raise ValueError(f"call={show(call)} holds values that cannot be static; give flags and numbers") from None
    return flags


def of_pair(fn: Any) -> Any:
    """The ``apply`` of an init/apply pair such as ``haiku.transform`` gives, without its key; all else as it is."""
    is_pair = isinstance(fn, tuple) and len(fn) == 2 and all(map(callable, fn))
    if not is_pair:
        return fn
    apply = fn[1]
    names = list(inspect.signature(apply).parameters)
    return WithoutKey(apply) if names[1:2] == ["rng"] else apply


@struct.dataclass
class Partitioned:
    """A function of weights with leaves that no compiled function takes: they are static, the arrays are traced."""

    fn: Callable[..., Any] = struct.field(pytree_node=False)
    structure: Any = struct.field(pytree_node=False)
    fixed: tuple[Any, ...] = struct.field(pytree_node=False)

    def __call__(self, params: PyTree, *rest: Any, **named: Any) -> Any:
        arrays = iter(params)
        leaves = [next(arrays) if leaf is HOLE else leaf for leaf in self.fixed]
        return self.fn(self.structure.unflatten(leaves), *rest, **named)


def partition(name: str, fn: Callable[..., Any], params: PyTree) -> tuple[Callable[..., Any], PyTree]:
    """``fn`` and ``params`` with traceable leaves alone: text, functions and other constants move into the function.

    Of an Equinox module only arrays are traced, as its own transformations have it: its numbers steer Python.

    Raises:
        ValueError: a leaf that is neither traceable nor hashable, or a network in training mode.
    """
    check_evaluation(name, params)
    equinox = sys.modules.get("equinox")
    is_module = (lambda node: isinstance(node, equinox.Module)) if equinox else (lambda node: False)
    own = any(is_module(node) for node in jax.tree.leaves(params, is_leaf=is_module))
    traced = is_array if own else is_traceable
    leaves, structure = jax.tree.flatten(params)
    if all(traced(leaf) for leaf in leaves):
        return fn, params
    fixed = tuple(HOLE if traced(leaf) else leaf for leaf in leaves)
    for path, leaf in jax.tree.leaves_with_path(params):
        try:
            hash(None if traced(leaf) else leaf)
        except TypeError:
            where = f"{name}{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where}={show(leaf)} is neither an array nor hashable; keep it out of {name}") from None
    return Partitioned(fn, structure, fixed), [leaf for leaf in leaves if traced(leaf)]
