"""What a task is: a model and a problem, how samples are scored, and guidance that is tuned for it.

A task is a frozen pytree dataclass: networks, operators and numbers are leaves, so that a program traces the task as an
argument. A task of one's own is `own_task`, or a class below `Task` that says its objective.
"""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, PRNGKeyArray, PyTree, Shaped

from tfg_jax import struct
from tfg_jax.checks import check_count
from tfg_jax.config import to_dict
from tfg_jax.denoiser import Model
from tfg_jax.domains.base import names_of
from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.run import end_to_end, upper_end_to_end_cost
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.base import Guidance, StepContext
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip, Lookahead
from tfg_jax.metrics import Estimate, mean_ci, wilson
from tfg_jax.metrics.sampled_run import all_finite
from tfg_jax.metrics.titles import COSTS, flat_estimate
from tfg_jax.objectives.base import as_objective
from tfg_jax.problem import Record
from tfg_jax.result import Cost, Samples, finished
from tfg_jax.rows import AnyArray, Arrays, Rows, blocks, by_blocks, cycled
from tfg_jax.runs.store import fingerprint
from tfg_jax.sample import sample, upper_cost
from tfg_jax.samplers.base import Sampler
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.code import code_hash

EndToEnd = DFlow | Controls
Method = Guidance | DFlow | Controls | None
"""A way to ask a model for something; None is unguided."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Numbers of a run.

    Attributes:
        values: of every sample (n,) by name, NaN where it failed.
        aggregate: gives ``numbers``, over all of them, with intervals, under the flat names of metrics.json.
        run: what a report shows, `LabelRun` or `InverseRun`; None where there is no more.
    """

    values: Mapping[str, np.ndarray]
    aggregate: Callable[[], dict[str, Any]]
    run: Any = None

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Computed when they are asked for."""
        return self.aggregate()


class Task(abc.ABC):
    """Everything of a run but the method, the seed and the number of samples.

    Fields of a subclass: ``model``, ``sampler``, ``clip`` (None does not clip), ``lookahead`` (None is `Tweedie`),
    ``window`` of log-SNRs in which guidance acts (None is everywhere), and ``tuned`` methods by name, if there are.
    """

    model: Any
    sampler: Any
    clip: Clip | None
    lookahead: Lookahead | None
    window: tuple[float, float] | None

    @property
    def presets(self) -> Mapping[str, Any]:
        """Tuned methods by name."""
        return getattr(self, "tuned", {})

    @abc.abstractmethod
    def objective(self, method: Method) -> Any:
        """The log-weight that a method ascends."""

    @abc.abstractmethod
    def targets(self, n: int) -> np.ndarray | Rows:
        """What each of n samples is asked for, (n, ...)."""

    def evaluate(self, samples: Arrays, *, seconds: float = 0.0, config: Mapping[str, Any] | None = None) -> Evaluation:
        """Numbers of the samples of a run.

        Args:
            samples: stored arrays by name: "x", "target", "status_code", "objective", costs; `Rows` are read part by
                part.
            seconds: that they took.
            config: that made them, for the report.
        """
        parts, names = [], names_of("x", self.model)
        for part in blocks(samples[jax.tree.leaves(names)[0]]):
            x = jax.tree.map(lambda name, part=part: samples[name][part], names)
            reached = samples["objective"][part][:, -1]
            parts.append({"objective": reached, **self.scores(x, samples["target"][part])})
        return aggregate({name: np.concatenate([p[name] for p in parts]) for name in parts[0]}, samples, seconds)

    def scores(self, x: PyTree, targets: np.ndarray) -> Mapping[str, Any]:
        """Numbers of every sample (n,) beside the objective that was reached, by name; of a part of a run at a time."""
        return {}

    def scored_by(self, metric: str) -> Any:
        """The learned network that gives a number, None where none has a part in it: here ``evaluator``, if any."""
        plain = metric == "objective" or metric in COSTS.values()
        return None if plain else getattr(self, "evaluator", None)

    def notes(self) -> list[str]:
        """Warnings about the networks, for terminal and report."""
        return []

    def describe(self, method: Method, conditional: bool, targets: Any) -> dict[str, Any]:
        """All that decides the samples but the seed and their number, as JSON: another value is another folder."""
        networks = {"model": getattr(self.model, "params", self.model)}
        return {
            "task": type(self).__name__, "guidance": to_dict(method), "conditional": conditional,
            "sampler": to_dict(self.sampler), "clip": to_dict(self.clip), "lookahead": to_dict(self.lookahead),
            "window": to_dict(self.window), "schedule": to_dict(self.model.schedule),
            "prediction": getattr(self.model, "prediction", None), "targets_sha256": fingerprint(targets),
            "weights_sha256": {name: fingerprint(each) for name, each in networks.items()},
            "objective": identity(self.objective(method)),
        }  # fmt: skip

    def bare(self) -> Task:
        """The task without what only scores, as a program is given it."""
        return self

    def upper_cost(self, method: Method) -> Cost:
        """Calls per sample before a run is made; it can only be cheaper."""
        if isinstance(method, EndToEnd):
            return upper_end_to_end_cost(method, self.model)
        return upper_cost(method, self.lookahead, self.sampler, self.model)

    def value(self, method: Method) -> Callable[[StepContext], Array]:
        """What is recorded of every step: by default the objective at the denoised estimate."""
        return _value

    def reached(self, objective: Any, x: Array, target: Array, cond: Any) -> Array:
        """The same of a result."""
        return objective(x, target)

    def asked(self, objective: Any, targets: Array, conditional: bool) -> tuple[Any, Any]:
        """Targets as the objective takes them, and conditions as the network does: classes in both, if it is told."""
        return targets, targets if conditional else None

    def sample(
        self,
        key: PRNGKeyArray,
        targets: Shaped[AnyArray, "n *target"],
        method: Method,
        *,
        conditional: bool = False,
        index_offset: int | Array = 0,
        sharding: NamedSharding | None = None,
    ) -> Samples:
        """One batch of samples, one a target; ``info["summary"]`` holds `value` at every step, (n, steps).

        Methods that work end to end take neither sampler nor clip nor lookahead from the task, have one value, that of
        the result, (n, 1), and refuse a window.

        Args:
            key: root key.
            targets: what is asked for.
            method: the method; None is unguided.
            conditional: also give the targets to the network itself.
            index_offset: global index of the first sample (traced).
            sharding: splits the samples over devices, as in `tfg_jax.sample`.
        Raises:
            ValueError: as `tfg_jax.sample` and `tfg_jax.end_to_end`.
        """
        count: Any = {"num_samples": len(targets), "index_offset": index_offset}
        count |= {} if sharding is None else {"sharding": sharding}
        if isinstance(method, EndToEnd):
            if self.window is not None:
                raise ValueError(f"window={self.window} has no effect on {type(method).__name__}; leave it out")
            request = self.request(targets, method, conditional)
            out = end_to_end(key, self.model, method, **request, **count)
            objective, target, cond = request.values()
            reached = jax.vmap(lambda *one: self.reached(objective, *one))(out.x, target, cond)
            return Samples(out.x, out.status, out.cost, {"summary": reached[:, None]})
        return sample(key, self.model, **self.request(targets, method, conditional), **self.plan(method), **count)

    def request(self, targets: Shaped[AnyArray, "n *target"], method: Method, conditional: bool) -> dict[str, Any]:
        """What is asked of the model, as arguments of `tfg_jax.sample`: objective, target and cond."""
        objective = self.objective(method)
        target, cond = self.asked(objective, jnp.asarray(targets), conditional)
        return {"objective": objective, "target": target, "cond": cond}

    def plan(self, method: Guidance | None) -> dict[str, Any]:
        """How, as arguments of `tfg_jax.sample`; `value` is recorded of every step."""
        return {
            "guidance": method, "lookahead": self.lookahead, "sampler": self.sampler, "clip": self.clip,
            "window": self.window, "record": Record(summary=self.value(method)),
        }  # fmt: skip


def identity(objective: Any) -> dict[str, str]:
    """What tells an objective from another: its weights, and the text of the function where it is known."""
    function = getattr(objective, "fn", objective)
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    return {"name": name, "code_sha256": code_hash(function), "weights_sha256": fingerprint(objective)}


def _value(ctx: StepContext) -> Array:
    return ctx.objective(ctx.lookahead()[0])


def aggregate(values: Mapping[str, Any], samples: Arrays, seconds: float = 0.0) -> Evaluation:
    """Per-sample values with their means over the samples that finished, with 95 % intervals, and what they cost.

    True and False are counted: their interval is Wilson's, within [0, 1].
    """
    n, status = len(samples["status_code"]), np.asarray(samples["status_code"])
    pixels = [by_blocks(all_finite, each) for name, each in samples.items() if name.partition("__")[0] == "x"]
    ok = np.logical_and.reduce([finished(status), *pixels])
    each = {name: np.where(ok, np.asarray(value, np.float64), np.nan) for name, value in values.items()}
    counted = {name for name, value in values.items() if np.asarray(value).dtype == bool}

    def mean(name: str, of: np.ndarray) -> Estimate:
        return wilson(int(of.sum()), len(of)) if name in counted else mean_ci(of)

    def numbers() -> dict[str, Any]:
        told: dict[str, Any] = {"samples": n, "failed_samples": int((~ok).sum()), "seconds": float(seconds)}
        for name, value in each.items():
            if len(bad := np.flatnonzero(ok & ~np.isfinite(value))):
                warnings.warn(f"{name} of sample {bad[0]} is {value[bad[0]]}, so there is no mean of it", stacklevel=2)
                told |= flat_estimate(name, Estimate(np.nan, np.nan, np.nan, n))
            else:
                told |= flat_estimate(name, mean(name, value[ok])) if ok.any() else {}
        return told | {name: float(np.mean(np.asarray(samples[f"cost_{key}"]))) for key, name in COSTS.items()}

    return Evaluation(each, numbers)


@struct.dataclass
class OwnTask(Task):
    """A task of the user's own, made by `own_task`."""

    model: Any
    given: Any
    wanted: Any
    sampler: Any = DDIM()
    clip: Any = None
    lookahead: Any = None
    window: Any = None
    score: Callable[..., Mapping[str, Any]] | None = struct.field(pytree_node=False, default=None)
    tuned: dict[str, Any] = struct.field(default_factory=dict)

    def objective(self, method: Method) -> Any:
        """The objective that was given."""
        return self.given

    def targets(self, n: int) -> np.ndarray | Rows:
        """Sample i is asked for target i modulo their number."""
        check_count("num_samples", n)
        return cycled(np.asarray(self.wanted), n)

    def scored_by(self, metric: str) -> Any:
        """The user's function, whose weights, if it is a pytree that has any, say that it was learned."""
        return None if metric == "objective" or metric in COSTS.values() else self.score

    def bare(self) -> OwnTask:
        """The task without its scores and presets."""
        return dataclasses.replace(self, score=None, tuned={})

    def scores(self, x: PyTree, targets: np.ndarray) -> Mapping[str, Any]:
        """What the user's function says."""
        if self.score is None:
            return {}
        given, n = jax.tree.map(jnp.asarray, (x, targets)), len(targets)
        values = {name: np.asarray(each) for name, each in self.score(*given).items()}
        for name, each in values.items():
            if each.shape != (n,):
                raise ValueError(f"evaluate gives {name!r} of shape {each.shape}; one number a sample is ({n},)")
        return values


@public
def own_task(
    model: Model,
    *,
    objective: Any,
    targets: Shaped[AnyArray, "m *target"],
    evaluate: Callable[..., Mapping[str, Any]] | None = None,
    presets: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    clip: Clip | None = None,
    lookahead: Lookahead | None = None,
    window: tuple[float, float] | None = None,
) -> OwnTask:
    """A task of one's own, for `tfg-jax sample --task file.py`.

    Args:
        model: the diffusion or flow model.
        objective: log-weight of one clean sample, as in `tfg_jax.sample`.
        targets: (m, ...); sample i is asked for target i modulo m.
        evaluate: ``(x, targets) -> {name: (n,) numbers}``, beside the objective that was reached; it is given some
            shards of a run at a time.
        presets: tuned methods by name.
        sampler, clip, lookahead, window: as in `tfg_jax.sample`.
    Raises:
        ValueError: no targets, or an objective that is no function.
    """
    if not len(targets):
        raise ValueError("targets is empty; give at least one, zeros if the objective needs none")
    return OwnTask(
        model, as_objective(objective), jnp.asarray(targets), sampler or DDIM(), clip=clip, lookahead=lookahead,
        window=window, score=evaluate, tuned=dict(presets or {}),
    )  # fmt: skip
