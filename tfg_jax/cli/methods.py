"""The method that a command names: its flags, read off its declaration, and which other options it takes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfg_jax.cli.groups import LookaheadOptions, WindowOptions
from tfg_jax.cli.options import Part, Typed
from tfg_jax.references import called, is_reference, resolve

UNGUIDED = ("none", "conditional")
INSIDE = ("solve", "grid", "schedule")  # configurations inside a configuration have flags of their own


class Choice(NamedTuple):
    """A method by the name that was typed."""

    name: str
    method: Any  # a Guidance, a method that works end to end, or None

    @property
    def conditional(self) -> bool:
        """Whether the network itself is given the class."""
        return self.name == "conditional"

    @property
    def kind(self) -> str:
        """Which options it takes: "unguided", "noisy", "guided", "source" or "controls"."""
        from tfg_jax.endtoend.controls import Controls
        from tfg_jax.endtoend.source import DFlow
        from tfg_jax.guidance.classifier import ClassifierGuidance

        kinds = ((DFlow, "source"), (Controls, "controls"), (ClassifierGuidance, "noisy"))
        kind = next((kind for cls, kind in kinds if isinstance(self.method, cls)), "guided")
        return "unguided" if self.method is None else kind


def chosen(typed: Typed, presets: Mapping[str, Any], unguided: Sequence[str], default: str) -> Choice:
    """The method that was typed, at its tuned settings. ValueError for an unknown one."""
    name = typed.last("--guidance", "--method") or default
    return named(name, presets, unguided)


def named(name: str, presets: Mapping[str, Any], unguided: Sequence[str]) -> Choice:
    """The method of a name: none, a preset, or a class or object of the user's. ValueError for an unknown one."""
    if name in unguided:
        return Choice(name, None)
    if name in presets:
        return Choice(name, presets[name])
    if not is_reference(name):
        known = ", ".join([*unguided, *presets])
        raise ValueError(
            f"guidance={name!r:.60} is unknown; choose one of {known}, or a class of yours as module:Class"
        )
    method = resolve("guidance", name)
    method = called("guidance", name, method) if isinstance(method, type) else method
    if not hasattr(method, "step") and not hasattr(method, "descend"):
        raise ValueError(f"guidance={name} is a {type(method).__name__}; give a guidance method")
    return Choice(name, method)


def settings(config: Any, without: Sequence[str] = INSIDE, name: str = "Method") -> Part:
    """The flags of a declared configuration, with its own values as defaults."""
    from tfg_jax.declare import flags_of

    flags = flags_of(config)
    fields = [(f.name, f.type, f) for f in dataclasses.fields(flags) if f.name not in without and f.type is not None]
    simple = [(n, kind, f) for n, kind, f in fields if not dataclasses.is_dataclass(kind)]
    cls = dataclasses.make_dataclass(f"{name}Options", simple, frozen=True, kw_only=True)
    cls.__doc__ = f"Settings of {type(config).__name__}, as tuned for this task."
    return Part(cls, tuned=True)


def parts_of(choice: Choice, typed: Typed, sampler: Part, presets: Mapping[str, Any]) -> list[Part]:
    """The groups of options that a method takes.

    Raises:
        ValueError: an option was typed that it does not take, though other methods do.
    """
    own = [] if choice.method is None else [settings(choice.method)]
    shared = {
        "unguided": [sampler],
        "noisy": [Part(WindowOptions), sampler],
        "guided": [Part(LookaheadOptions), Part(WindowOptions), sampler],
        "source": [Part(LookaheadOptions)],
        "controls": [],
    }[choice.kind]
    taken = [*own, *shared]
    takes = {name for part in taken for name in part.names()}
    mine = [name for part in own for name in part.names()]
    others = [f.name for each in presets.values() for f in dataclasses.fields(each)]
    general = [*Part(LookaheadOptions).names(), "window", *sampler.names()]
    general += ["clip"] if choice.kind in ("source", "controls") else []
    refused = [name for name in dict.fromkeys([*others, *general]) if name not in takes]
    if flag := typed.given(refused):
        of_methods = flag.removeprefix("--").replace("-", "_") not in general and choice.kind != "noisy"
        words = ", ".join("--" + name.replace("_", "-") for name in mine) or "no settings"
        hint = f", which takes {words}; drop it" if of_methods else HINTS[choice.kind]
        raise ValueError(f"{flag} has no effect on --method {choice.name}{hint}")
    return taken


HINTS = {
    "unguided": ", which is not guided; drop it",
    "noisy": ", which looks at no denoised estimate; drop it",
    "guided": "; drop it",
    "source": "; drop it (--horizon, --lookahead-steps and --solver say how it solves)",
    "controls": "; drop it (--steps and --solver say how it solves)",
}


def build(choice: Choice, options: Any) -> Any:
    """The method with the settings that the options give: 0 leaves a term of TFG out, end-to-end methods take a solve.

    Raises:
        ValueError: a bad value.
    """
    from tfg_jax.declare import with_flags

    method = choice.method
    if method is None:
        return None
    given = options.given(settings(method).names())
    if hasattr(method, "smoothing") and hasattr(method, "rho"):
        given = without_zero_terms(given)
    if given.get("line_search") is not None:
        given = {"rate": None, **given}  # asks for L-BFGS in the place of Adam
    method = with_flags(method, given) if given else method
    if choice.kind == "source":
        solve = {"horizon": options.horizon, "steps": options.lookahead_steps, "solver": options.solver}
        changes = {name: value for name, value in solve.items() if value is not None}
        method = method.replace(solve=method.solve.replace(**changes)) if changes else method
    return method


def look_ahead(choice: Choice, options: Any) -> Any:
    """The lookahead of a guided method, or None for Tweedie. ValueError for steps or a solver without horizon."""
    if choice.kind != "guided":
        return None
    if options.horizon is None:
        for flag, value in (("--lookahead-steps", options.lookahead_steps), ("--solver", options.solver)):
            if value is not None:
                raise ValueError(f"{flag} has no effect without --horizon, e.g. --horizon 1; give it or drop {flag}")
        return None
    from tfg_jax.truncated import TruncatedSolve

    steps = 4 if options.lookahead_steps is None else options.lookahead_steps
    return TruncatedSolve(options.horizon, steps, options.solver or "midpoint")


def window_of(options: Any) -> tuple[float, float] | None:
    """The window of guidance. Raises ValueError for one that is none."""
    window = getattr(options, "window", None)
    if window is not None:
        from tfg_jax.arguments import check_window

        check_window(window)
    return window


def without_zero_terms(given: dict[str, Any]) -> dict[str, Any]:
    """A strength of 0 means that the term is absent, and with it what only belongs to it."""
    owned = {"rho": ["rho_structure"], "mu": ["n_iter", "mu_structure"], "smoothing": ["n_mc", "smoothing_structure"]}
    absent = [term for term in owned if given.get(term) == 0]
    dropped = {name: None for term in absent for name in (term, *owned[term])}
    return dropped | {name: value for name, value in given.items() if name not in absent}


def folder_of(name: str) -> str:
    """Where samples of a method lie below the results: its name without what would lead elsewhere."""
    return re.sub(r"[^\w.:-]+", "-", name).strip(".-")
