"""The methods by name, as the command line knows them; the library itself has no such registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from tfg_jax.truncated import TruncatedSolve

SETTINGS = (
    "rho", "mu", "smoothing", "strength", "n_iter", "n_recur", "n_mc",
    "rho_structure", "mu_structure", "smoothing_structure", "structure", "data_std", "weighting",
    "iterations", "rate", "line_search", "regularizer", "weight", "kind",
)  # fmt: skip
"""Settings that can be given on the command line: fields of the methods' own classes."""

MethodName = Literal["none", "conditional", "classifier", "dps", "lgd", "freedom", "mpgd", "ugd", "tfg"]


class Method(NamedTuple):
    """One way to ask for a class."""

    guidance: Any  # a Guidance, a method that works end to end, or None
    conditional: bool


RestorationName = Literal["none", "dps", "lgd", "freedom", "ugd", "pigdm", "mpgd", "tfg", "dflow", "controls"]
END_TO_END = ("dflow", "controls")


def build(name: str, settings: Mapping[str, Any], preset: Callable[[str], Any] | None = None) -> Method:
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
        if "line_search" in given:
            given = {"rate": None, **given}  # asks for L-BFGS in the place of Adam
        guidance = guidance.replace(**given)  # type: ignore[attr-defined]
    return Method(guidance, name == "conditional")


def look_ahead(name: str, horizon: float | None, steps: int | None, solver: str | None) -> TruncatedSolve | None:
    """The lookahead of a method by guidance, or None for Tweedie.

    Raises:
        ValueError: a bad value, steps or a solver without horizon, or a method that looks at no denoised estimate.
    """
    if horizon is None:
        for flag, value in (("--lookahead-steps", steps), ("--solver", solver)):
            if value is not None:
                raise ValueError(f"{flag} has no effect without --horizon, e.g. --horizon 1; give it or drop {flag}")
        return None
    if name in ("none", "conditional", "classifier"):
        raise ValueError(f"--horizon has no effect on --method {name}, which looks at no denoised estimate; drop it")
    from tfg_jax.truncated import TruncatedSolve

    found = TruncatedSolve(horizon, 4 if steps is None else steps, solver or "midpoint")
    return found


def check_acting(name: str, window: tuple[float, float] | None) -> None:
    """Refuse a window of guidance that is none, or that has no effect. Raises ValueError."""
    if window is None:
        return
    if name in ("none", "conditional"):
        raise ValueError(f"--window has no effect on --method {name}, which is not guided; drop it")
    from tfg_jax.arguments import check_window

    check_window(window)


def end_to_end_method(method: Method, options: Any) -> Method:
    """A method that works end to end, with the solve that the options ask for.

    Raises:
        ValueError: an option without effect, or a bad value.
    """
    name, found = options.method, method.guidance
    unused = {"--eta": options.eta, "--window": options.window, "--no-clip": None if options.clip else True}
    if name == "dflow":
        unused["--steps"], hint = options.steps, "--horizon, --lookahead-steps and --solver say how it solves"
        asked = {"horizon": options.horizon, "steps": options.lookahead_steps, "solver": options.solver}
    else:
        unused |= {"--horizon": options.horizon, "--lookahead-steps": options.lookahead_steps}
        hint, asked = "--steps and --solver say how it solves", {"steps": options.steps, "solver": options.solver}
    for flag, value in unused.items():
        if value is not None:
            raise ValueError(f"{flag} has no effect on --method {name}; drop it ({hint})")
    given = {field: value for field, value in asked.items() if value is not None}
    found = found.replace(solve=found.solve.replace(**given)) if name == "dflow" else found.replace(**given)
    return Method(found, False)


def _without_zero_terms(given: dict[str, Any]) -> dict[str, Any]:
    """A strength of 0 means that the term is absent, and with it what only belongs to it."""
    owned = {"rho": ["rho_structure"], "mu": ["n_iter", "mu_structure"], "smoothing": ["n_mc", "smoothing_structure"]}
    absent = [term for term in owned if given.get(term) == 0]
    dropped = {name: None for term in absent for name in (term, *owned[term])}
    return dropped | {name: value for name, value in given.items() if name not in absent}


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
