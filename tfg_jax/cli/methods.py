"""The methods by name, as the command line knows them; the library itself has no such registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from tfg_jax.guidance.base import Guidance

SETTINGS = (
    "rho", "mu", "smoothing", "strength", "n_iter", "n_recur", "n_mc",
    "rho_structure", "mu_structure", "smoothing_structure", "structure", "data_std", "weighting",
)  # fmt: skip
"""Settings that can be given on the command line: fields of the methods' own classes."""

MethodName = Literal["none", "conditional", "classifier", "dps", "lgd", "freedom", "mpgd", "ugd", "tfg"]


class Method(NamedTuple):
    """One way to ask for a class."""

    guidance: Guidance | None
    conditional: bool


RestorationName = Literal["none", "dps", "pigdm", "mpgd", "tfg"]


def build(name: str, settings: Mapping[str, Any], preset: Callable[[str], Guidance] | None = None) -> Method:
    """A method with its tuned settings, or with those that the user gave instead.

    Args:
        name: of the method.
        settings: field of the guidance -> value; None keeps the preset. 0 leaves a term of TFG out altogether.
        preset: the tuned guidance by name; None is that of label guidance.
    Raises:
        ValueError: a setting that the method does not have, or a bad value.
    """
    given = {field: value for field, value in settings.items() if value is not None}
    if name in ("none", "conditional"):
        known: list[str] = []
        guidance = None
    else:
        if preset is None:
            from tfg_jax.tasks.presets import preset

        guidance = preset(name)
        known = [f.name for f in dataclasses.fields(guidance) if f.name in SETTINGS]  # type: ignore[arg-type]
    if unknown := [field for field in given if field not in known]:
        takes = ", ".join(map(_flag, known)) or "no settings"
        raise ValueError(f"{_flag(unknown[0])} has no effect on --method {name}, which takes {takes}; drop it")
    if guidance is not None:
        if name == "tfg":
            given = _without_zero_terms(given)
        guidance = guidance.replace(**given)  # type: ignore[attr-defined]
        guidance.check()
    return Method(guidance, name == "conditional")


def _without_zero_terms(given: dict[str, Any]) -> dict[str, Any]:
    """A strength of 0 means that the term is absent, and with it what only belongs to it."""
    owned = {"rho": ["rho_structure"], "mu": ["n_iter", "mu_structure"], "smoothing": ["n_mc", "smoothing_structure"]}
    absent = [term for term in owned if given.get(term) == 0]
    dropped = {name: None for term in absent for name in (term, *owned[term])}
    return dropped | {name: value for name, value in given.items() if name not in absent}


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
