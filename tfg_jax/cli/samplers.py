"""The sampler that a command names, with flags of its own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any

import numpy as np
import tyro

from tfg_jax.cli.options import Part, Typed
from tfg_jax.references import called, is_reference, resolve

SAMPLERS = {
    "ddim": "samplers.ddim:DDIM", "ddpm": "samplers.ddpm:DDPM", "euler": "samplers.ode:Euler",
    "heun": "samplers.ode:Heun", "churn": "samplers.ode:Churn", "dpmpp-2m": "samplers.multistep:DPMSolverPP2M",
}  # fmt: skip
SAMPLER = Annotated[str, tyro.conf.arg(help=f"Step rule: {', '.join(SAMPLERS)}, or module:Class.")]


@dataclasses.dataclass(frozen=True)
class SamplerOptions:
    """The sampler of guided methods."""

    sampler: SAMPLER = "ddim"
    steps: int = 50
    """DDIM steps."""
    eta: float = 1.0
    """DDIM stochasticity in [0, 1]."""
    v: float | None = None
    """More noise than eta 1, in [0, 1]: between the posterior's variance (0, as eta 1) and the forward process's (1),
    in logarithm. With n_recur > 1 about 0.5 keeps the samples' variety."""


def sampler_part(typed: Typed, own: Any = None) -> Part:
    """The options of the sampler that is named; ``own`` is the task's, which is kept where none is."""
    from tfg_jax.samplers.ddim import DDIM

    name = typed.last("--sampler")
    if name in (None, "ddim") and (own is None or type(own) is DDIM):
        return Part(SamplerOptions, {} if own is None else {"steps": own.steps, "eta": float(np.asarray(own.eta))})
    return _part(own if name is None else _rule(name), name or "own")


def _part(rule: Any, name: str) -> Part:
    from tfg_jax.cli.methods import INSIDE, settings

    flags = settings(rule, INSIDE).cls
    fields = [("sampler", SAMPLER, dataclasses.field(default=name))]
    fields += [(f.name, f.type, f) for f in dataclasses.fields(flags)]
    cls = dataclasses.make_dataclass("SamplerOptions", fields, frozen=True, kw_only=True)
    cls.__doc__ = f"Settings of {type(rule).__name__}."
    return Part(cls)


def _rule(name: str) -> Any:
    if name not in SAMPLERS and not is_reference(name):
        raise ValueError(
            f"sampler={name!r:.60} is unknown; choose one of {', '.join(SAMPLERS)}, or a class as module:Class"
        )
    found = resolve("sampler", f"tfg_jax.{SAMPLERS[name]}" if name in SAMPLERS else name)
    return called("sampler", name, functools.partial(found, steps=50)) if isinstance(found, type) else found


def sampler_of(options: Any, own: Any = None) -> Any:
    """The sampler that the options ask for, and for a method without one the task's or the default. Checked."""
    from tfg_jax.declare import with_flags
    from tfg_jax.samplers.ddim import DDIM
    from tfg_jax.samplers.ddpm import DDPM

    name = getattr(options, "sampler", None)
    if name is None:
        return own or DDIM()
    if name == "ddim":
        if options.v is not None and options.eta != 1.0:
            raise ValueError(
                f"eta={options.eta} has no effect with v={options.v}, which takes its place; drop one of them"
            )
        rule: Any = DDIM(options.steps, options.eta) if options.v is None else DDPM(options.steps, options.v)
    else:
        rule = own if name == "own" else _rule(name)
        names = [field.name for field in dataclasses.fields(_part(rule, name).cls) if field.name != "sampler"]
        rule = with_flags(rule, {each: getattr(options, each) for each in names})
    return rule
