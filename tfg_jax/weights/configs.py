"""What a configuration of weights may hold: every value is checked before a network is built from it.

Messages name the key (`net.side` is the key side inside net), its value and the fix; `released.load` adds the file.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from tfg_jax import schedules
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.unet2d import UNet2DConfig

Config = TypeVar("Config")

FIX = "correct it or export the weights again"
MAX_COUNT, MAX_NUMBER = 2**31 - 1, float(np.finfo(np.float32).max)
# The schedules that numbers describe, and what must hold of these.
RANGES: dict[type, tuple[Callable[[Any], bool], str]] = {
    schedules.VPLinear: (lambda s: 0 < s.beta_min <= s.beta_max, "0 < beta_min <= beta_max"),
    schedules.VPCosine: (lambda s: s.offset >= 0 and 0 < s.t_start < 1, "offset >= 0 and 0 < t_start < 1"),
    schedules.VPTruncatedCosine: (lambda s: True, "a finite log_snr_min"),
    schedules.VPPolynomial: (lambda s: 0 < s.floor < 1, "0 < floor < 1"),
    schedules.VE: (lambda s: 0 < s.sigma_min < s.sigma_max, "0 < sigma_min < sigma_max"),
    schedules.EDM: (lambda s: s.sigma_max > 0, "sigma_max > 0"),
    schedules.RectifiedFlow: (lambda s: 0 < s.t_start < 1, "0 < t_start < 1"),
}


def schedule_to_dict(schedule: schedules.Schedule) -> dict[str, Any]:
    """A schedule as JSON values; `schedule_from_dict` gives it back."""
    if isinstance(schedule, schedules.Discrete):
        table = np.asarray(schedule.log_alpha, np.float64).tolist()
        return {"kind": "Discrete", "log_alpha": [None if value == -np.inf else value for value in table]}
    if type(schedule) not in RANGES:
        raise ValueError(f"schedule={schedule!r} cannot be stored; use one of tfg_jax.schedules.")
    values = {field: float(getattr(schedule, field)) for field in schedule.__dataclass_fields__}  # type: ignore
    return {"kind": type(schedule).__name__, **values}


def schedule_from_dict(values: Any) -> schedules.Schedule:
    """The schedule of `schedule_to_dict`. Raises ValueError on an unknown name or parameter, or one out of range."""
    _need("schedule", values, isinstance(values, dict), "an object with the schedule's kind and parameters")
    parameters = dict(values)
    kind = parameters.pop("kind", None)
    known: dict[Any, Any] = {schedule.__name__: schedule for schedule in RANGES}
    if kind == "Discrete":
        return _discrete(parameters)
    if kind not in list(known) or set(parameters) - set(known[kind].__dataclass_fields__):
        raise ValueError(
            f"schedule={_show(values)} is unknown; use one of {', '.join(known)}, Discrete with its own parameters"
        )
    for key, value in parameters.items():
        _need(f"schedule.{key}", value, _is_number(value), "a finite number")
    try:
        schedule = known[kind](**parameters)
    except ValueError as error:
        raise ValueError(f"schedule: {error}; {FIX}") from None
    holds, words = RANGES[known[kind]]
    _need("schedule", values, holds(schedule), f"{kind} with {words}")
    return schedule


def check_choice(key: str, value: Any, choices: Iterable[str]) -> None:
    """ValueError unless ``value`` is one of ``choices``."""
    _need(key, value, value in list(choices), f"one of {', '.join(choices)}")


def unet_config(config: dict[str, Any], num_arrays: int) -> UNet2DConfig:
    """The network of a diffusion model's configuration whose values fit each other; ValueError for any other.

    num_arrays: how many arrays the weights have, which bounds the layers of the network.
    """
    _check_fields("unet", config["unet"], UNet2DConfig)
    unet = UNet2DConfig.from_dict(config["unet"])
    _check_depth("unet.layers_per_block", unet.layers_per_block * len(unet.block_out_channels), num_arrays)
    shape, pack = _shape(config["shape"]), config["pack"]
    _need("pack", pack, _is_count(pack), "an integer >= 1")
    _need("pack", pack, shape[0] % pack == shape[1] % pack == 0, f"a divisor of both sides of shape={list(shape)}")
    channels = shape[2] * pack**2
    for key in ("in_channels", "out_channels"):
        whence = f"{channels}, the channels of shape={list(shape)} at pack={pack}"
        _need(f"unet.{key}", getattr(unet, key), getattr(unet, key) == channels, whence)
    _check_labels(config["num_classes"], config["null_class"], unet)
    return unet


def egnn_config(config: dict[str, Any], num_arrays: int) -> EGNNConfig:
    """The network of a molecule model's configuration whose values are sensible; ValueError for any other.

    num_arrays: how many arrays the weights have, which bounds the layers of the network.
    """
    values = config["egnn"]
    _check_fields("egnn", values, EGNNConfig)
    for key, value in values.items():
        _need(f"egnn.{key}", value, value > 0, "above 0")
    net = EGNNConfig(**values)
    _check_depth("egnn.layers", net.layers, num_arrays)
    _need("egnn.heads", net.heads, net.width % net.heads == 0, f"a divisor of egnn.width={net.width}")
    _need("name", config["name"], isinstance(config["name"], str), "a text")
    return net


def max_atoms(config: dict[str, Any]) -> int:
    """The largest molecule of a molecule model; ValueError unless it is a positive integer."""
    _need("max_atoms", config["max_atoms"], _is_count(config["max_atoms"]), "an integer >= 1")
    return config["max_atoms"]


def property_names(config: dict[str, Any]) -> tuple[str, ...]:
    """The properties of a network of them, whose mean and scale fit; ValueError for any other configuration."""
    names = config["properties"]
    right = isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)
    _need("properties", names, right, "a list of texts")
    for key in ("mean", "scale"):
        value = config[key]
        right = isinstance(value, list) and len(value) == len(names) and all(_is_number(number) for number in value)
        _need(key, value, right, f"a list of {len(names)} finite numbers, one a property")
    return tuple(names)


def net_config(config: dict[str, Any], kind: type[Config], num_arrays: int) -> Config:
    """The `kind` of network of a classifier's configuration whose values fit each other; ValueError for any other.

    num_arrays: how many arrays the weights have, which bounds the layers of the network.
    """
    values = config["net"]
    _check_fields("net", values, kind)
    for key, value in values.items():
        low = {"blocks": 0, "depths": 0, "num_classes": 2}.get(key, 1)
        _need(f"net.{key}", value, all(v >= low for v in np.atleast_1d(value)), f"{low} or more")
        if isinstance(value, list):
            _check_depth(f"net.{key}", len(value) if key == "widths" else sum(value), num_arrays)
    net: Any = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    wanted = (net.side, net.side, net.channels)
    _need("shape", config["shape"], _shape(config["shape"]) == wanted, f"{list(wanted)}, as net.side and net.channels")
    _need("name", config["name"], isinstance(config["name"], str), "a text")
    return net


def _discrete(parameters: dict[str, Any]) -> schedules.Discrete:
    table: Any = parameters.get("log_alpha")
    ends = isinstance(table, list) and len(table) > 2 and table[-1] is None  # -inf, which JSON has not
    table = table[:-1] if ends else table
    right = isinstance(table, list) and len(table) > 1 and all(_is_number(value) for value in table)
    # Ties are let through: neighbours in a fine table can share their float32.
    right = right and table[0] == 0 and table[1] < 0 and bool(np.all(np.diff(table) <= 0))
    _need("schedule.log_alpha", table, right, "a list of finite numbers that starts at 0 and decreases")
    if len(parameters) > 1:
        raise ValueError(f"schedule has the keys {sorted(parameters)}; a Discrete one has log_alpha alone, {FIX}")
    return schedules.Discrete(jnp.asarray([*table, -np.inf] if ends else table, float))


def _check_labels(num_classes: Any, null_class: Any, unet: UNet2DConfig) -> None:
    """The classes a user may name, and the one that stands for none, have embeddings."""
    _need("num_classes", num_classes, num_classes is None or _is_count(num_classes), "an integer >= 1 or null")
    _need("null_class", null_class, null_class is None or _is_count(null_class, 0), "an integer >= 0 or null")
    if (embeddings := unet.num_class_embeds) is not None:
        whence = f"unet.num_class_embeds={embeddings}"
        _need("num_classes", num_classes, num_classes is not None and num_classes <= embeddings,
              f"between 1 and {whence}")  # fmt: skip
        _need("null_class", null_class, null_class is None or null_class < embeddings, f"below {whence}")
    elif not unet.class_conditional:
        _need("num_classes", num_classes, num_classes is None, "null, as the unet has no class embedding")
        _need("null_class", null_class, null_class is None, "null, as the unet has no class embedding")


def _check_fields(where: str, values: Any, kind: type) -> None:
    """ValueError unless ``values`` are fields of the dataclass ``kind``, each of its type (lists stand for tuples)."""
    _need(where, values, isinstance(values, dict), f"an object with the fields of {kind.__name__}")
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    for key, value in values.items():
        if key.startswith("_"):  # diffusers' notes: from_dict leaves them out, or refuses them
            continue
        if key not in fields:
            raise ValueError(f"{where} has no field {key!r}; its fields are {', '.join(fields)}")
        words = hints[key].__name__ if isinstance(hints[key], type) else str(hints[key]).replace("tuple", "list")
        _need(f"{where}.{key}", value, _fits(value, hints[key]), f"of type {words}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the type of a field; a boolean is no number, and a number is finite."""
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if typing.get_origin(hint) is tuple:
        right = isinstance(value, list) and (parts[-1] is ... or len(value) == len(parts))
        return right and all(_fits(entry, parts[0]) for entry in value)
    if hint is int:
        return _is_count(value, -MAX_COUNT)
    return _is_number(value) if hint is float else type(value) is hint


def _check_depth(key: str, layers: int, num_arrays: int) -> None:
    """Every layer has arrays, so a larger number is wrong, and would keep the construction busy for long."""
    if layers > num_arrays:
        raise ValueError(f"{key} asks for {layers} layers, but the weights hold {num_arrays} arrays; {FIX}")


def _shape(value: Any) -> tuple[int, int, int]:
    right = isinstance(value, list) and len(value) == 3 and all(_is_count(side) for side in value)
    _need("shape", value, right, "a list of three positive integers, [height, width, channels]")
    return value[0], value[1], value[2]


def _is_count(value: Any, low: int = 1) -> bool:
    return type(value) is int and low <= value <= MAX_COUNT


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER


def _need(key: str, value: Any, right: bool, words: str) -> None:
    if not right:
        raise ValueError(f"{key}={_show(value)} must be {words}; {FIX}")


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
