"""Options shared by commands, read by tyro, with defaults from a JSON file where a command has `--config`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from tfg_jax.readers import load_json

Options = TypeVar("Options")


Structure = Literal["increase", "decrease", "constant"]
Solver = Literal["euler", "midpoint", "heun", "ralston"]
TUNED = tyro.conf.arg(help_behavior_hint="(default: tuned)")


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """Settings of the methods. What is left out is tuned, see --method; what a method does not have is refused."""

    rho: Annotated[float | None, TUNED] = None
    """tfg: variance guidance, >= 0; 0 leaves it out."""
    mu: Annotated[float | None, TUNED] = None
    """tfg: mean guidance, >= 0; 0 leaves it out."""
    smoothing: Annotated[float | None, TUNED] = None
    """tfg: Monte Carlo smoothing radius, >= 0; 0 leaves it out."""
    strength: Annotated[float | None, TUNED] = None
    """Step size of every other method, >= 0."""
    n_iter: Annotated[int | None, TUNED] = None
    """tfg, ugd: iterations at the denoised estimate."""
    n_recur: Annotated[int | None, TUNED] = None
    """tfg, freedom, ugd: recurrences of each step."""
    n_mc: Annotated[int | None, TUNED] = None
    """tfg, lgd: Monte Carlo draws."""
    rho_structure: Annotated[Structure | None, TUNED] = None
    """tfg: how rho is spread over the steps."""
    mu_structure: Annotated[Structure | None, TUNED] = None
    """tfg: how mu is spread over the steps."""
    smoothing_structure: Annotated[Literal["decrease", "constant"] | None, TUNED] = None
    """tfg: how smoothing is spread over the steps."""
    structure: Annotated[Structure | None, TUNED] = None
    """freedom: how the strength is spread over the steps."""


@dataclasses.dataclass(frozen=True)
class GuidedOptions:
    """What guided sampling alone takes: how far the denoised estimate that gradients go through looks ahead, by default
    one Tweedie step, and where guidance acts, by default everywhere."""

    horizon: float | None = None
    """Share in [0, 1] of the way to the data that is solved before the Tweedie step; 0 is Tweedie at full price."""
    lookahead_steps: int | None = None
    """Steps of that solve, >= 1; default 4."""
    solver: Solver | None = None
    """How it steps; default midpoint."""
    window: tuple[float, float] | None = None
    """Log-SNRs (low, high) between which guidance acts, from noisy (about -10) to clean (about 10); outside, steps are
    unguided and cheaper."""


@dataclasses.dataclass(frozen=True)
class SamplerOptions:
    """The sampler of guided methods."""

    steps: int = 50
    """DDIM steps."""
    eta: float = 1.0
    """DDIM stochasticity in [0, 1]."""
    v: float | None = None
    """More noise than eta 1, in [0, 1]: between the posterior's variance (0, as eta 1) and the forward process's (1),
    in logarithm. With n_recur > 1 about 0.5 keeps the samples' variety."""


@dataclasses.dataclass(frozen=True)
class CommonOptions:
    """What every sampling command takes, whatever is asked for."""

    clip: bool = True
    """Clip denoised estimates to [-1, 1], in every method alike."""
    seed: int = 0
    """Root of all random numbers."""
    chunk: int = 20
    """Samples computed together, and samples a file."""
    model: str = "fashion-mnist"
    """Diffusion model: released name or folder of weights."""
    config: Path | None = None
    """JSON file of options, such as the config.json of an earlier run; options given here win."""
    overwrite: bool = False
    """Throw away what the folder holds."""
    dry_run: bool = False
    """Show shapes, network evaluations and memory; sample and write nothing."""


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """What is asked for, and the networks that guide and score."""

    classes: tuple[str, ...] = ()
    """Requested classes, by number or name; default all."""
    per_class: int = 8
    """Samples of each class."""
    guide: str = "fashion-mnist-guide-estimates"
    """Classifier that guides: released name or folder."""
    weak: str | None = None
    """A worse model of the same kind to guide away from (autoguidance): released name or folder; default none."""
    w: float | None = None
    """Weight of that, default 1; 0 leaves the model as it is."""
    noisy_guide: str | None = None
    """Classifier of noisy images, for the method `classifier` alone: released name or folder; default the shipped."""
    evaluator: str = "fashion-mnist-evaluator"
    """Classifier that scores: released name or folder."""
    data: Path | None = None
    """Folder of the original Fashion-MNIST files: more real images to compare with than the hundred shipped ones."""


@dataclasses.dataclass(frozen=True)
class RunOptions(LabelOptions, SamplerOptions, CommonOptions):
    """What every command takes that samples classes."""


def parse(options: type[Options], program: str, arguments: Sequence[str]) -> Options:
    """Options from the command line. Exits with code 2 on a mistake.

    Raises ValueError if a `--config` file is not a JSON object of options.
    """
    found = _parsed(options, program, list(arguments))
    file = getattr(found, "config", None)
    if not isinstance(file, Path):
        return found
    # The last of repeated flags wins, so the file's go first and are checked like typed ones.
    return _parsed(options, program, [*_flags(_read(file)), *arguments])


def _parsed(options: type[Options], program: str, arguments: list[str]) -> Options:
    """Every class that the options inherit from is a group of the help, in the order in which they are named."""
    parts = _parts(options)
    if len(parts) < 2:
        return tyro.cli(options, prog=program, args=arguments)
    fields = [
        (name, tyro.conf.OmitArgPrefixes[part], dataclasses.field(default_factory=part)) for name, part in parts.items()
    ]
    grouped = dataclasses.make_dataclass("Grouped", fields)
    found = tyro.cli(grouped, prog=program, args=arguments, description=inspect.getdoc(options))
    held = [getattr(found, name) for name in parts]
    return options(**{field.name: getattr(part, field.name) for part in held for field in dataclasses.fields(part)})


def _parts(options: type) -> dict[str, type]:
    """The classes with fields of their own, by the name of their group."""
    own: dict[str, type] = {}
    for cls in options.__mro__:
        above = {name for base in cls.__mro__[1:] for name in _names(base)}
        if not _names(cls) <= above:
            own[re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Options")).lower()] = cls
    return own


def _names(cls: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()


def as_json(options: Any) -> dict[str, Any]:
    """Options as JSON values for a `--config` file; those that do not describe the run are left out."""
    values = dataclasses.asdict(options)
    kept = {k: v for k, v in values.items() if k not in ("config", "overwrite", "dry_run")}
    return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in kept.items()}


def _read(file: Path) -> dict[str, Any]:
    values = load_json("config", file)
    values = values.get("options", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise ValueError(f'config={file} holds no JSON object; give one such as {{"steps": 50}}')
    return values


def _flags(values: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for key, value in values.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            flags += [f"--{name}", *map(str, value)] if value else []
        elif value is not None:
            flags += [f"--{name}", str(value)]
    return flags


@dataclasses.dataclass(frozen=True)
class SizeOptions:
    """How many samples the rows of a study on images have."""

    images: int = 64
    """Restored images a row at the smallest budget."""
    costly_images: int = 32
    """Restored images a row at the other budgets."""
    label_samples: int = 100
    """Label samples a row."""
    trial_images: int = 8
    """Images of each trial of a strength."""
    trial_samples: int = 20
    """Label samples of each trial."""
    chunk: int = 8
    """Restorations computed together."""
    label_chunk: int = 20
    """Label samples computed together."""
