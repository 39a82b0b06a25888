"""What a suite is: tasks x methods x targets x seeds as data, and what has to be handed in for them.

A suite is a TOML file, of this room by its name or anyone's by its path; it names no code. `read_suite` checks it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

UNGUIDED = ("none", "conditional")
PRESETS = "presets"
"""In a list of methods: every one that is tuned for the task, as it is when the suite runs."""
TRUSTS = ("", "code", "published, unverified", "second-hand", "code and second-hand")
"""How a number of a paper is known: read in its code, said to be in its text, reprinted by others."""


@dataclasses.dataclass(frozen=True)
class Need:
    """A network, data or a function that a suite has no copy of.

    Attributes:
        name: by which tasks and ``--use`` know it.
        gives: what is to be handed in: "model", "classifier", "predictor", "images", "features" or "score".
        architecture: of a network.
        source: where it is to be had.
        how: what the library needs of it.
        optional: what needs it is left out without it.
    """

    name: str
    gives: str
    source: str
    architecture: str = ""
    how: str = ""
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        request: a class, one class an attribute, a problem, a property, or number of a style.
        settings: of methods, by name, where they are this target's own.
        trust: how these are known.
    """

    request: tuple[int | str, ...]
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    trust: str = ""

    @property
    def name(self) -> str:
        """As a word."""
        return "-".join(map(str, self.request))


@dataclasses.dataclass(frozen=True)
class Published:
    """A number that somebody has published of a task.

    Attributes:
        method, metric: of what; ``metric`` in the words of its source.
        value: the number. source: whose. trust: how it is known. target: of one alone.
    """

    method: str
    metric: str
    value: float
    source: str
    trust: str
    target: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A task of a suite, with its methods.

    Attributes:
        name: of the task.
        kind: "labels", "attributes", "restoration", "properties" or "style".
        targets: each a row of its own.
        methods: names of presets, none, conditional, or of ``settings``.
        samples: of a row.
        metric: that ranks methods, by its name in metrics.json.
        also: further ones that are shown.
        apart: every target is a task.
        data: a data set of the library, whose networks are taken; "" where ``model`` and others are handed in.
        model, guides, evaluators, images, features, score: names of needs.
        steps, eta, grid: of DDIM; "" is the library's grid.
        clip: cut denoised estimates to [-1, 1].
        chunk: samples computed together.
        rate: network evaluations a second of two cores that a plan reckons with; 0 is unknown.
        noise_std: of measurements.
        operator: of a restoration that is none of `PROBLEMS`.
        settings: of methods, by name, for all targets; with a "type" for what has no preset.
        published: numbers to compare with.
        note: what readers of the numbers have to know.
    """

    name: str
    kind: str
    targets: tuple[Target, ...]
    methods: tuple[str, ...]
    samples: int
    metric: str
    also: tuple[str, ...] = ()
    apart: bool = False
    data: str = ""
    model: str = ""
    guides: tuple[str, ...] = ()
    evaluators: tuple[str, ...] = ()
    images: str = ""
    features: str = ""
    score: str = ""
    steps: int = 50
    eta: float = 1.0
    grid: str = ""
    clip: bool = True
    chunk: int = 20
    rate: float = 0.0
    noise_std: float = 0.05
    operator: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    published: tuple[Published, ...] = ()
    note: str = ""

    def task(self, target: Target) -> str:
        """Name of the task that a target belongs to."""
        return target.name if self.apart else self.name

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what it takes."""
        return tuple(filter(None, (self.model, *self.guides, *self.evaluators, self.images, self.features, self.score)))


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tasks with their methods.

    Attributes:
        about: what it is for.
        tasks: in the order of the table.
        seeds: roots of the random numbers of each row.
        headline: the method whose gain over the best of ``baselines`` is told; "" tells none.
        baselines: what it is compared with.
        beyond: further methods of the library, over which its gain is told apart.
        published: what somebody else's headline came to, to be shown beside it; "" is nothing.
        needs: what has to be handed in.
        name: of its file.
    """

    about: str
    tasks: tuple[Entry, ...]
    seeds: tuple[int, ...] = (0,)
    headline: str = ""
    baselines: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    published: str = ""
    needs: tuple[Need, ...] = ()
    name: str = ""
