"""Configurations to and from JSON: methods, samplers, grids, schedules, clips and lookaheads, nested as they are.

    {"type": "TFG", "rho": 1.0, "mu": 0.25, "n_iter": 4, ...}

Only the library's own configuration classes are read; nothing in a file is executed.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.base import Unguided
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.freedom import FreeDoM
from tfg_jax.guidance.gradient import GradientGuidance, NaiveGradientGuidance
from tfg_jax.guidance.inner import InnerSteps
from tfg_jax.guidance.lgd import LGD
from tfg_jax.guidance.mpgd import MPGD
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.guidance.tfg import TFG
from tfg_jax.guidance.ugd import UGD
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip, Tweedie
from tfg_jax.readers import parse_json
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.samplers.multistep import DPMSolverPP2M
from tfg_jax.samplers.ode import Churn, Euler, Heun
from tfg_jax.schedules import EDM, VE, Discrete, RectifiedFlow, VPCosine, VPLinear, VPPolynomial, VPTruncatedCosine
from tfg_jax.timesteps import CosineLogSNR, Explicit, Karras, Leading, Linspace, Trailing, Uniform, UniformLogSNR
from tfg_jax.truncated import Reach, TruncatedSolve

CLASSES: tuple[type, ...] = (
    Unguided, ClassifierGuidance, DPS, FreeDoM, GradientGuidance, NaiveGradientGuidance, InnerSteps, LGD, MPGD, PiGDM,
    TFG, UGD, DFlow, Controls, Clip, Tweedie, TruncatedSolve, Reach, DDIM, DDPM, Churn, Euler, Heun, DPMSolverPP2M,
    EDM, VE, Discrete, RectifiedFlow, VPCosine, VPLinear, VPPolynomial, VPTruncatedCosine, Explicit, Karras, Leading,
    Linspace, Trailing, Uniform, UniformLogSNR, CosineLogSNR,
)  # fmt: skip
"""The configuration classes that JSON may name."""

RENAMED = {("DPS", "normalise"): "normalize", ("DFlow", "regulariser"): "regularizer"}
"""Fields as files written before version 0.2 call them."""


@public
def to_json(config: Any, indent: int | None = None) -> str:
    """A configuration object as JSON text.

    Raises:
        ValueError: the object, or something in it, is not a configuration class, a number, text or an array.
    """
    return json.dumps(to_plain(config), indent=indent, allow_nan=False)


@public
def from_json(text: str) -> Any:
    """The configuration object of a JSON text made by `to_json` or written by hand.

    Raises:
        ValueError: not JSON, an unknown type, or a field the type does not have; the message lists what there is.
    """
    try:
        plain = parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"configuration is not JSON (line {error.lineno}: {error.msg}); check quotes and commas"
        ) from None
    except ValueError as error:
        raise ValueError(f"configuration is not JSON ({error}); check quotes and commas") from None
    try:
        return from_plain(plain)
    except RecursionError:
        raise ValueError("configuration is nested too deeply; flatten it") from None
    except OverflowError as error:
        raise ValueError(f"configuration holds a number out of range ({error}); mend it") from None


def to_plain(config: Any) -> Any:
    """As `to_json`, to dicts, lists, numbers and text."""
    if dataclasses.is_dataclass(config) and type(config) in CLASSES:
        fields = {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
        return {"type": type(config).__name__, **fields}
    if config is None or isinstance(config, bool | int | float | str):
        return config
    if isinstance(config, tuple | list):
        return [to_plain(part) for part in config]
    if hasattr(config, "dtype") and not isinstance(config, type):
        # JSON has no -inf, with which a table without signal at its end ends.
        values: Any = np.asarray(config)
        plain = values.tolist()
        return [*plain[:-1], None] if values.ndim == 1 and plain and plain[-1] == -np.inf else plain
    raise ValueError(
        f"{type(config).__name__} cannot be written to JSON; use the library's configuration classes and numbers"
    )


def from_plain(plain: Any) -> Any:
    """As `from_json`, from dicts, lists, numbers and text."""
    if isinstance(plain, list) and len(plain) > 1 and plain[-1] is None:
        plain = [*plain[:-1], -np.inf]
    if isinstance(plain, list):
        return (
            np.asarray(plain, np.float64)
            if all(isinstance(part, int | float) for part in plain)
            else tuple(map(from_plain, plain))
        )
    if not isinstance(plain, dict):
        return plain
    name = plain.get("type")
    by_name = {cls.__name__: cls for cls in CLASSES}
    if not isinstance(name, str) or name not in by_name:
        raise ValueError(f"type={name!r:.60} is unknown; choose one of {', '.join(sorted(by_name))}")
    plain = {RENAMED.get((name, key), key): value for key, value in plain.items()}
    known = [field.name for field in dataclasses.fields(by_name[name])]
    unknown = sorted(set(plain) - {"type", *known})
    if unknown:
        raise ValueError(f"{name} has no field {unknown[0]!r:.60}; it has {', '.join(known)}")
    given = {key: from_plain(value) for key, value in plain.items() if key != "type"}
    try:
        return by_name[name](**given)
    except TypeError:  # of a field without a default
        raise ValueError(f"{name} lacks a field; it has {', '.join(known)}") from None
