"""The fields of a declared class, and their checks where an object is written."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, NamedTuple, TypeVar

from jax.typing import ArrayLike

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_count, check_number, check_one, show
from tfg_jax.kinds import annotation_of, check_kind, kind_of
from tfg_jax.per_sample import PerSample, check_model_number

T = TypeVar("T", bound="Declared")


class Field(NamedTuple):
    """One field as its class declares it.

    ``annotation`` is Any where a name in it is not known; ``options`` are those of a choice; ``optional`` says whether
    None is meant; ``spec`` is that of a number, child or static field where the class declares none.
    """

    name: str
    annotation: Any
    default: Any
    traced: bool
    optional: bool
    options: tuple[Any, ...]
    declared: bool
    spec: struct.Spec

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def range(self) -> str:
        """The range in words: ">= 0", "in [0, 1]", "value, residual"; empty where there is none."""
        low, high, strict = self.spec.low, self.spec.high, self.spec.strict
        if self.options:
            return ", ".join(map(str, self.options))
        if low is None and high is None:
            return ""
        if high is None:
            return f"{'>' if strict else '>='} {low:g}"
        return f"<= {high:g}" if low is None else f"in {'(' if strict else '['}{low:g}, {high:g}]"


def describe(cls: type) -> tuple[Field, ...]:
    """The fields of a configuration class, in order, inherited ones as well.

    Raises:
        ValueError: it is no dataclass.
    """
    if "_described" not in vars(cls):
        if not dataclasses.is_dataclass(cls):
            raise ValueError(f"cls={cls!r:.60} declares no fields; decorate it with tfg_jax.struct.dataclass")
        cls._described = tuple(map(_field_of(cls), dataclasses.fields(cls)))  # type: ignore[attr-defined]
    return cls._described  # type: ignore[attr-defined]


def _field_of(cls: type) -> Any:
    def described(field: Any) -> Field:
        annotation = annotation_of(cls, field)
        traced = field.metadata.get("pytree_node", True)
        spec = field.metadata.get("spec")
        kind = kind_of(annotation)
        literals = [part for part in kind.parts if typing.get_origin(part) is typing.Literal]
        options = typing.get_args(literals[0]) if literals else ()
        number = traced and (float in kind.parts or ArrayLike in kind.parts)
        guessed = struct.Spec("number" if number else "child" if traced else "static")
        return Field(
            field.name, annotation, field.default, traced=traced, optional=kind.optional, options=options,
            declared=spec is not None, spec=spec or guessed,
        )  # fmt: skip

    return described


def check_single_numbers(config: Any) -> None:
    """Raise ValueError unless each number of a configuration, in a class of the user's own as well, is one or None."""
    for field in describe(type(config)) if dataclasses.is_dataclass(config) else ():
        value = getattr(config, field.name)
        if value is not None and field.spec.kind == "number" and not callable(value):
            check_one(field.name, value)


def check_value(config: Any, name: str, value: Any) -> None:
    """Raise ValueError for a value that a field may not have whatever the others are; those of other classes pass."""
    if isinstance(config, Declared):
        (field,) = (each for each in describe(type(config)) if each.name == name)
        struct.with_fields(config, **{name: value})._check_field(field)


class Declared:
    """Base of configuration objects: checked where they are written; nothing of it is a field.

    A subclass decorated with `tfg_jax.struct.dataclass` gives its fields by `number`, `count`, `choice`, `static` and
    `child`, and in ``check`` what must hold of several of them. Traced values pass, their shapes are checked.
    """

    is_declared = True
    table = ""  # the table of the documentation that a class stands in
    _prefix = ""

    def __post_init__(self) -> None:
        self.verify()

    def check(self) -> None:
        """Raise ValueError for fields that do not fit each other."""

    def verify(self) -> None:
        """Raise ValueError for a field out of range, or fields that do not fit each other; asked once an object."""
        if "_verified" in vars(self):
            return
        for field in sorted(describe(type(self)), key=lambda field: field.traced):  # structure first
            self._check_field(field)
        self._check_together()
        object.__setattr__(self, "_verified", True)

    def replace(self: T, **fields: Any) -> T:
        """The same with other fields; what is given is checked."""
        unknown = set(fields) - {field.name for field in describe(type(self))}
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {min(unknown)!r}")
        other = struct.with_fields(self, **fields)
        given = [field for field in describe(type(self)) if field.name in fields and field.declared]
        for field in given:
            other._check_field(field)
        if any(field.spec.kind != "child" for field in given):
            other._check_together()
        if "_verified" in vars(self):
            object.__setattr__(other, "_verified", True)
        return other

    def _check_together(self) -> None:
        self.check()

    def _shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of a number for one sample."""
        return ()

    def _check_field(self, field: Field, num_samples: int | None = None) -> None:
        value, spec, name = getattr(self, field.name), field.spec, self._prefix + field.name
        if not field.declared or (value is None and field.optional) or value is field.default:
            return
        match spec.kind:
            case "number" if value is None:
                raise ValueError(f"{name}=None must be a real number")
            case "number" if type(value) in (tuple, list, dict, str):
                raise ValueError(f"{name}={show(value)} must be a real number")
            case "number" if not (callable(value) and kind_of(field.annotation).function):
                bounds = dict(low=spec.low, high=spec.high, strict=spec.strict, infinite=spec.infinite)
                if isinstance(value, PerSample) and not spec.per_sample:
                    raise ValueError(f"{name} must be one number for all samples, not one a sample")
                if spec.per_sample:
                    check_model_number(name, value, num_samples, each=self._shape_of(field.name), **bounds)
                else:
                    check_number(name, value, **bounds)
            case "count":
                check_count(name, value, int(spec.low or 0), None if spec.high is None else int(spec.high))
            case "choice" if field.options:
                check_choice(name, value, field.options)
            case "child" | "static":
                check_kind(name, value, kind_of(field.annotation))
