"""The doors of the library: a public function refuses an argument of another kind than its annotation says.

The annotations are read once, at the first call; values inside their kind (ranges, shapes that must fit each other) are
the function's own to check. What is known by what it can do (a `Protocol`) needs no base class.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import AbstractArray, PRNGKeyArray, PyTree

from tfg_jax.checks import show
from tfg_jax.networks import check_evaluation, is_array, is_traceable
from tfg_jax.per_sample import Own, PerSample
from tfg_jax.struct import once

F = TypeVar("F", bound=Callable)

FIX = {
    "Model": "a model such as tfg.from_fn(...) or tfg.load(name)",
    "Denoiser": "a denoiser such as tfg.from_fn(...) or tfg.load(name)",
    "Schedule": "a schedule such as VPCosine()",
    "Objective": "one of tfg_jax.objectives, or a function (x0, target) -> scalar",
    "Guidance": "a method such as TFG()",
    "Lookahead": "one such as Tweedie()",
    "Churn": "Churn(amount=..., low=..., high=...)",
    "Sampler": "a rule such as DDIM(steps=50)",
    "Grid": "one such as Uniform()",
    "Clip": "Clip(low, high)",
    "NoiseTape": "a NoiseTape",
    "Record": "Record(steps=..., summary=...)",
    "TruncatedSolve": "TruncatedSolve(horizon, steps=...)",
    "DFlow": "DFlow() or Controls()",
    "Classifier": "Classifier(params, apply, num_classes) or tfg.load(name)",
    "NoisyClassifier": "NoisyClassifier(params, apply, num_classes) or tfg.load(name)",
    "Mixture": "one of tfg_jax.analytic",
}


def public(function: F) -> F:
    """``function``, which raises ValueError for arguments of another kind than it declares, before it does anything."""
    parameters = inspect.signature(function).parameters
    positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    rest = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        wanted = kinds_of(function)
        names = positional if rest is None else [rest] * len(args)
        known = [_checked(name, value, wanted) for name, value in zip(names, args, strict=False)]
        return function(
            *known, *args[len(known) :], **{name: _checked(name, value, wanted) for name, value in kwargs.items()}
        )

    checked.checks_kinds = True  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


class Kind(NamedTuple):
    """An annotation, read once: the parts that it joins and what they are to users."""

    parts: tuple[Any, ...]
    optional: bool
    function: bool
    tree: bool
    listed: bool


@functools.cache
def kind_of(hint: Any) -> Kind:
    """An annotation as a `Kind`; unions that are one kind to users stay together."""
    left, parts = [hint], []
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        left = list(typing.get_args(hint))
        for whole in (ArrayLike, PRNGKeyArray, DTypeLike):
            if set(typing.get_args(whole)) <= set(left):
                parts.append(whole)
                left = [each for each in left if each not in typing.get_args(whole)]
    parts = [each for each in (*parts, *left) if each is not type(None)]
    return Kind(
        tuple(parts), type(None) in left or Any in parts, any(map(_is_callable, parts)), any(map(_is_tree, parts)),
        any(typing.get_origin(each) is tuple for each in parts),
    )  # fmt: skip


@functools.cache
def kinds_of(function: Callable) -> dict[str, Kind]:
    """The kind of every parameter that has an annotation, but for further keyword arguments."""
    hints = typing.get_type_hints(function)
    named = inspect.signature(function).parameters.values()
    return {p.name: kind_of(hints[p.name]) for p in named if p.name in hints and p.kind is not p.VAR_KEYWORD}


def _checked(name: str, value: Any, wanted: Mapping[str, Kind]) -> Any:
    """An argument of its kind; counts of NumPy as Python's, since they overflow and compile anew."""
    if name not in wanted:
        return value
    check_kind(name, value, wanted[name])
    return int(value) if isinstance(value, np.integer) and int in wanted[name].parts else value


def check_kind(name: str, value: Any, kind: Kind) -> None:
    """Raise ValueError unless ``value`` is of ``kind``, and a pytree in evaluation mode where that is a pytree's."""
    if value is None and kind.optional:
        return
    if not any(_fits(value, each) for each in kind.parts):
        raise ValueError(_complaint(name, value, kind.parts[0]))
    if not (kind.function or kind.tree):
        return
    check_evaluation(name, value)
    if kind.tree and not kind.function and not is_traceable(value) and jax.tree_util.all_leaves([value]):
        raise ValueError(f"{name}={type(value).__name__} is no pytree; make its class a @tfg_jax.struct.dataclass")
    if hasattr(value, "check") or callable(value):
        check_fields(value)


def check_fields(config: Any) -> None:
    """Raise ValueError unless every field of a configuration is of its kind; its numbers are its own to check.

    A declared one checks itself, if it was not made by its constructor, which does. What the annotations of a user's
    own class mean is the user's: its ``check()`` is called. A frozen configuration that was found right once is marked,
    and not looked at again.
    """
    if hasattr(type(config), "is_declared"):
        config.verify()
        return
    if _checks_alone(type(config)):
        config.check()
    ours = dataclasses.is_dataclass(config) and type(config).__module__.partition(".")[0] == "tfg_jax"
    if not ours or isinstance(config, type) or "_of_its_kinds" in vars(config):
        return
    for field, kind in _fields_of(type(config)):
        value = getattr(config, field.name)
        if value is not field.default and not _is_count(value, kind):
            check_kind(field.name, value, kind)
    if type(config).__dataclass_params__.frozen:  # type: ignore[attr-defined]
        object.__setattr__(config, "_of_its_kinds", True)


@functools.cache
def _checks_alone(cls: type) -> bool:
    """Whether a class has a ``check`` that needs nothing of the run."""
    check = getattr(cls, "check", None)
    return inspect.isfunction(check) and len(inspect.signature(check).parameters) == 1


def _is_count(value: Any, kind: Kind) -> bool:
    """Whether ``value`` is numbers where a configuration counts: it says itself which counts can be meant."""
    if isinstance(value, tuple | list):
        return kind.listed and all(isinstance(each, int | float) for each in value)
    return int in kind.parts and isinstance(value, int | float)


@functools.cache
def _fields_of(cls: type) -> tuple[tuple[Any, Kind], ...]:
    return tuple((field, kind_of(annotation_of(cls, field))) for field in dataclasses.fields(cls))


def annotation_of(cls: type, field: Any) -> Any:
    """The annotation of a dataclass's field, read where its class was written; Any if that cannot be."""
    if not isinstance(field.type, str):
        return field.type
    owner = next((base for base in cls.__mro__ if field.name in vars(base).get("__annotations__", {})), cls)
    names = {**vars(typing), **vars(sys.modules.get(owner.__module__, typing))}
    alone = types.SimpleNamespace(__annotations__={field.name: field.type})  # other fields' names may mean nothing
    try:
        return typing.get_type_hints(alone, names, dict(vars(owner)), include_extras=True)[field.name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def check_leaves(**given: Any) -> None:
    """Raise ValueError unless all leaves of what is given may go into a compiled function, naming the first other."""
    for name, value in given.items():
        if once(value, _is_all_traceable):
            continue
        path, leaf = next((path, leaf) for path, leaf in jax.tree.leaves_with_path(value) if not is_traceable(leaf))
        raise ValueError(
            f"{name}{jax.tree_util.keystr(path)}={show(leaf)} is no number or array; hold it in a static field, "
            "struct.field(pytree_node=False), or leave it out"
        )


def _is_all_traceable(tree: Any) -> bool:
    return all(map(is_traceable, jax.tree.leaves(tree)))


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind == PRNGKeyArray:
        return _is_key(value)
    if kind == DTypeLike:
        return _is_dtype(value)
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        return _is_numeric(value) and _dtype_fits(value, kind) and _shape_fits(value, kind)
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if kind is float:
        return _is_real(value)
    if kind is jax.Array:
        return _is_numeric(value)
    if kind == ArrayLike:
        if isinstance(value, PerSample | Own):  # in a model; where else a number is meant, its own checks refuse it
            return True
        return is_traceable(value) and (not is_array(value) or _is_numeric(value))
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if origin is tuple:
        return _is_tuple(value, inner)
    if _is_callable(kind):
        return callable(value) and not isinstance(value, type)
    if origin is not None and isinstance(origin, type):
        if issubclass(origin, Sequence):
            listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
            return listed and (not inner or all(_fits_any(each, inner[0]) for each in value))
        if not isinstance(value, origin):
            return False
        if issubclass(origin, Mapping):
            return len(inner) != 2 or all(_fits_any(each, inner[1]) for each in value.values())
        listed = issubclass(origin, Iterable) and isinstance(value, Collection) and len(inner) == 1
        return not listed or all(_fits_any(each, inner[0]) for each in value)
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, type) and not lacking(value, kind)
    if isinstance(kind, type) and kind.__module__ != "jaxtyping":
        try:
            return isinstance(value, kind)
        except TypeError:  # a class that only type checkers can ask
            return True
    return True


def _is_callable(kind: Any) -> bool:
    return Callable in (kind, typing.get_origin(kind))


def _is_tree(kind: Any) -> bool:
    """Whether values of a kind are given to compiled functions."""
    return kind is PyTree or getattr(kind, "__name__", "") in FIX


def _fits_any(value: Any, kind: Any) -> bool:
    kind = kind_of(kind)
    return (value is None and kind.optional) or any(_fits(value, each) for each in kind.parts)


def lacking(value: Any, protocol: Any) -> list[str]:
    """The members of a protocol that ``value`` does not have; nothing of it is evaluated."""
    absent = object()
    of_class = _lacking(type(value), protocol)
    return [name for name in of_class if inspect.getattr_static(value, name, absent) is absent]


@functools.cache
def _lacking(cls: type, protocol: Any) -> tuple[str, ...]:
    members = [name for name in vars(protocol) if name == "__call__" or not name.startswith("_")]
    known = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    known.update(*(vars(base) for base in cls.__mro__))  # not hasattr, which finds what the class's own class has
    return tuple(name for name in members if name not in known)


def _is_key(value: Any) -> bool:
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or isinstance(value, type):
        return False
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return shape == ()
    return dtype == np.uint32 and shape in ((2,), (4,))


def _is_numeric(value: Any) -> bool:
    """Whether ``value`` is an array of numbers, now or under a trace."""
    return is_array(value) and not jnp.issubdtype(value.dtype, jax.dtypes.extended)


def _is_real(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    if isinstance(value, int | float | np.integer | np.floating):
        return True
    return _is_numeric(value) and value.shape == () and value.dtype.kind not in "bc"


def _is_tuple(value: Any, inner: tuple[Any, ...]) -> bool:
    """Whether ``value`` is a shape; tuples of anything else are the function's own to read."""
    if int not in inner:
        return True
    sizes = isinstance(value, tuple | list) and all(_fits(each, int) for each in value)
    return sizes and (inner[-1] is Ellipsis or len(value) == len(inner))


def _dtype_fits(value: Any, kind: Any) -> bool:
    names = kind.dtypes
    return not isinstance(names, tuple | list) or value.dtype.name in names


def _shape_fits(value: Any, kind: Any) -> bool:
    axes = kind.dim_str.split()
    if "..." in axes or any(axis.startswith("*") for axis in axes):
        fixed = [axis for axis in axes if axis != "..." and not axis.startswith("*")]
        return len(value.shape) >= len(fixed)
    return len(value.shape) == len(axes)


def _is_dtype(value: Any) -> bool:
    try:
        jnp.dtype(value)
    except TypeError:
        return False
    return value is not None


def _complaint(name: str, value: Any, kind: Any) -> str:
    """One sentence: the argument, what it is, what it must be."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind == PRNGKeyArray:
        return _of_key(name, value)
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        return _of_array(name, value, kind)
    if kind == DTypeLike:
        return f"{name}={show(value)} is no dtype; pass one such as jnp.bfloat16"
    if kind == ArrayLike or kind is float:
        return f"{name}={show(value)} must be a real number" + (" or an array of them" if kind is not float else "")
    if kind is int:
        return f"{name}={show(value)} must be an integer"
    if kind is bool:
        return f"{name}={show(value)} must be True or False"
    if kind in (str, os.PathLike, pathlib.Path):
        return f"{name}={show(value)} must be a text" + ("" if kind is str else " or path")
    if origin is typing.Literal:
        return f"{name}={show(value)} is unknown; choose one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"{name}={show(value)} must be {_tuple_in_words(inner)}"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{name}={show(value)} must be a dictionary" + (" of other values" if isinstance(value, Mapping) else "")
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return f"{name}={show(value)} must be a list"
    if callable(kind) and origin is None:
        return _of_class(name, value, kind)
    return f"{name}={show(value)} is no function; pass one"


def _tuple_in_words(inner: tuple[Any, ...]) -> str:
    if inner == (int, Ellipsis):
        return "a tuple of integers, such as (32, 32, 3)"
    return "(H, W, C), the shape of one image" if len(inner) == 3 else f"a tuple of {len(inner)} integers"


def _of_key(name: str, value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is not None and not isinstance(value, type) and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return f"{name} holds keys of shape {value.shape}, one key is needed; map over several with jax.vmap"
    return f"{name}={show(value)} is no {name} of tfg_jax; pass jax.random.key(seed)"


def _of_array(name: str, value: Any, kind: Any) -> str:
    axes = "(" + ", ".join(kind.dim_str.split()) + ")"
    if not _is_numeric(value):
        return f"{name}={show(value)} must be an array of numbers, {axes}"
    if not _dtype_fits(value, kind):
        if "float32" in kind.dtypes:
            return (
                f"{name} has dtype {value.dtype}, floating point is needed; scale integers of images to [-1, 1] first"
            )
        what = "integers are" if "int32" in kind.dtypes else "another is"
        return f"{name} has dtype {value.dtype}, {what} needed; convert it first"
    images = "; one image x is given as x[None]" if "H" in kind.dim_str.split() else ""
    return f"{name} has shape {value.shape}, {axes} is needed{images}"


def _of_class(name: str, value: Any, kind: Any) -> str:
    fix = FIX.get(kind.__name__, f"an object of {kind.__module__.split('.')[0]}'s {kind.__name__}")
    if getattr(kind, "_is_protocol", False) and not isinstance(value, type | str | int | float):
        missing = lacking(value, kind)
        members = [member for member in vars(kind) if member == "__call__" or not member.startswith("_")]
        if len(missing) * 2 < len(members) and missing:
            return f"{name}={type(value).__name__} lacks {', '.join(missing)}; give it, or pass {fix}"
    return f"{name}={show(value)} is no {name} of tfg_jax; pass {fix}"
