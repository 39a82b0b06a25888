"""The sampler that a command names, with flags of its own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from tfg_jax.cli.groups import SAMPLER, SAMPLERS, SamplerOptions
from tfg_jax.cli.options import Part, Typed
from tfg_jax.references import called, is_reference, resolve

OWN = "own"
"""What a task's own sampler is called where none is named."""


def sampler_part(typed: Typed, own: Any = None) -> Part:
    """The options of the sampler that is named; ``own`` is the task's, which is kept where none is."""
    name = typed.last("--sampler")
    if own is None and name in (None, "ddim"):
        return Part(SamplerOptions)  # without JAX, as help is
    from tfg_jax.samplers.ddim import DDIM

    name = None if name == OWN and own is not None else name
    flags: dict[str, Any] = {}
    if type(own) is DDIM and own.grid is None and own.eta is not None:  # which flags say in full
        flags = {"steps": own.steps, "eta": float(np.asarray(own.eta))}
    if name == "ddim" or (name is None and flags):
        return Part(SamplerOptions, flags)
    return _part(own if name is None else _named(name), name or OWN)


def _part(sampler: Any, name: str) -> Part:
    from tfg_jax.cli.methods import INSIDE, settings

    flags = settings(sampler, INSIDE).cls
    fields = [("sampler", SAMPLER, dataclasses.field(default=name))]
    fields += [(f.name, f.type, f) for f in dataclasses.fields(flags)]
    cls = dataclasses.make_dataclass("SamplerOptions", fields, frozen=True, kw_only=True)
    cls.__doc__ = f"Settings of {type(sampler).__name__}."
    return Part(cls)


def _named(name: str) -> Any:
    if name not in SAMPLERS and not is_reference(name):
        raise ValueError(
            f"sampler={name!r:.60} is unknown; choose one of {', '.join(SAMPLERS)}, or a class as module:Class"
        )
    sampler = resolve("sampler", f"tfg_jax.{SAMPLERS[name]}" if name in SAMPLERS else name)
    return called("sampler", name, functools.partial(sampler, steps=50)) if isinstance(sampler, type) else sampler


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
        sampler: Any = DDIM(options.steps, options.eta) if options.v is None else DDPM(options.steps, options.v)
    else:
        sampler = own if name == OWN else _named(name)
        names = [field.name for field in dataclasses.fields(_part(sampler, name).cls) if field.name != "sampler"]
        sampler = with_flags(sampler, {each: getattr(options, each) for each in names})
    return sampler
