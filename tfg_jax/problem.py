"""What is sampled and how: the two configurations that every driver shares, each checked in one place.

    Problem    model, condition, objective, target          what is asked for
    Plan       guidance, sampler, lookahead, clip, window, record          how it is reached

`tfg_jax.sample` and its relatives build them from their keywords.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, PyTree

from tfg_jax import arguments, struct
from tfg_jax.checks import show
from tfg_jax.denoiser import Model
from tfg_jax.domains.base import domain_of, unpacked
from tfg_jax.guidance.base import Guidance, StepContext, Unguided, needs_of
from tfg_jax.kinds import check_leaves
from tfg_jax.lookahead import Clip, Conditioned, Estimate, Tweedie
from tfg_jax.numbers import number, one_form
from tfg_jax.objectives.base import as_objective, at_door, is_usable, output_of
from tfg_jax.per_sample import split_per_sample, with_own
from tfg_jax.result import Samples
from tfg_jax.truncated import TruncatedSolve

NOTHING, GREEDY = Unguided(), Tweedie()
"""Made once: a configuration remembers what was learned of it."""


@struct.dataclass
class Record:
    """What to keep of the way, in ``Samples.info``; nothing else of the path is stored.

    Attributes:
        steps: step numbers (from 0) after which the state is kept: ``info["x"]`` and ``info["x0"]``, (n, K, *shape).
        summary: ``ctx -> small pytree`` called once a step with the `StepContext`;
            ``info["summary"]``, (n, steps, ...).
    """

    steps: tuple[int, ...] = struct.field(pytree_node=False, default=())
    summary: Callable[[StepContext], PyTree] | None = struct.field(pytree_node=False, default=None)

    def check(self, steps: int) -> None:
        """Raise ValueError unless the steps are distinct ones of a run of so many."""
        if not isinstance(self.steps, tuple):
            raise ValueError(f"record.steps={show(self.steps)} must be a tuple of step numbers, such as (0, 5)")
        for step in self.steps:
            if isinstance(step, bool) or not isinstance(step, int | np.integer) or not 0 <= step < steps:
                raise ValueError(f"record.steps holds {step!r}, outside 0..{steps - 1}; name steps of this run")
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"record.steps={self.steps} names a step twice; name each once")
        if not (self.summary is None or callable(self.summary)):
            raise ValueError(f"record.summary={self.summary!r:.60} is no function of a step's context; pass one")


@struct.dataclass
class Problem:
    """What is asked for, of all samples or of one.

    Attributes:
        model: the diffusion or flow model, or a transform of one.
        cond: the condition of each sample, leaves (n, ...); None is unconditional.
        objective: log-weight of a clean sample, higher is better; None where nothing is asked for.
        target: what the objective is asked for, leaves (n, ...).
    """

    model: Model
    cond: PyTree = None
    objective: Any = None
    target: PyTree = None

    @classmethod
    def of(cls, model: Model, cond: PyTree = None, objective: Any = None, target: PyTree = None) -> Problem:
        """From what a user gives: any function is an objective, and it sees samples and conditions as the user does."""
        return cls(model, cond, *at_door(as_objective(objective), domain_of(model), target, cond))

    @property
    def conditioned(self) -> Conditioned:
        """The model under the condition of one sample."""
        return Conditioned(self.model, self.cond)

    def result(self, samples: Samples) -> Samples:
        """A result of the core's arrays as the user sees it."""
        seen = {name: unpacked(self.model, samples.info[name]) for name in ("x", "x0") if name in samples.info}
        return samples.replace(x=unpacked(self.model, samples.x), info={**samples.info, **seen})  # type: ignore

    def check(self, num_samples: int, *, clean: bool = True) -> None:
        """Raise ValueError unless the parts fit each other and the number of samples.

        Args:
            num_samples: how many there are.
            clean: whether the objective must be one of clean samples.
        """
        arguments.check_cond(self.model, self.cond, num_samples)
        self.model.check(self.cond is not None, num_samples)
        if self.target is not None and self.objective is None:
            raise ValueError("target has no effect without an objective; pass objective= or drop target")
        if self.objective is not None:
            if clean and self.objective.noisy:
                raise ValueError("objective is one of noisy samples; give one of clean samples, e.g. class_log_prob")
            self.objective.check(self.target, num_samples, self.model.shape)
            check_scalar(self.objective, self.target, self.model.shape)
        check_leaves(model=self.model, objective=self.objective, cond=self.cond, target=self.target)

    def check_flow(self, what: str) -> None:
        """Raise ValueError unless the model has a probability flow, which ``what`` follows."""
        if not self.model.paired:
            name = type(self.model).__name__
            raise ValueError(f"model={name} has no probability flow for {what} to follow; use CFG, or Tweedie and DDIM")

    def split(self, dtype: DTypeLike) -> tuple[Problem, dict[str, Any]]:
        """What the samples share, its numbers in their one form, and what each has of its own, for `of_sample`."""
        model, values = split_per_sample(one_form(self.model, dtype))
        shared = Problem(model, objective=one_form(self.objective, dtype))
        return shared, {"model": values, "cond": self.cond, "target": self.target}

    def of_sample(self, own: dict[str, Any]) -> Problem:
        """The problem of one sample, from its share of what `split` took out."""
        return Problem(with_own(self.model, own["model"]), own["cond"], self.objective, own["target"])

    def usable(self) -> Array:
        """Whether one sample's condition and target can be meant, which is not checked eagerly under jit."""
        good = is_usable(self.objective, self.target)
        if self.cond is not None and self.model.num_classes is not None:
            good = good & jnp.all((self.cond >= 0) & (self.cond < self.model.num_classes))
        return good


@struct.dataclass
class Plan:
    """How samples are drawn; `tfg_jax.sample` says what each part is, and what None stands for.

    Attributes:
        guidance: the method.
        sampler: the sampler rule.
        lookahead: the denoised estimate the gradient goes through.
        clip: clips denoised estimates.
        window: log-SNRs between which guidance acts.
        record: what to keep of the way.
    """

    guidance: Any = None
    sampler: Any = None
    lookahead: Any = None
    clip: Clip | None = None
    window: tuple[ArrayLike, ArrayLike] | None = None
    record: Record | None = None

    @property
    def method(self) -> Guidance:
        """The guidance, or that of nothing."""
        return NOTHING if self.guidance is None else self.guidance

    def filled(self, dtype: DTypeLike) -> Plan:
        """With its defaults, all numbers in their one form for samples of ``dtype``."""
        bounds = None if self.window is None else tuple(number(bound, dtype) for bound in self.window)
        lookahead = GREEDY if self.lookahead is None else self.lookahead
        parts = one_form((self.method, self.sampler, lookahead, self.clip), dtype)
        return Plan(*parts, window=bounds, record=self.record)

    def check(self, problem: Problem) -> None:
        """Raise ValueError for a part that cannot be meant, has no effect, or does not fit another or the problem."""
        guidance, lookahead, objective = self.guidance, self.lookahead, problem.objective
        if self.record is not None:
            self.record.check(self.sampler.steps)
        arguments.check_window(self.window)
        check_leaves(guidance=guidance, lookahead=lookahead, sampler=self.sampler)
        if isinstance(lookahead, Estimate):
            lookahead.check_run()
        name, unguided = type(guidance).__name__, isinstance(self.method, Unguided)
        if not problem.model.paired:
            _check_unpaired(self, problem)
        if not unguided and objective is None:
            raise ValueError(f"guidance={name} needs an objective; pass objective=, e.g. class_log_prob(classifier)")
        if unguided or not needs_of(guidance).acts:
            for option, value in (("lookahead", lookahead), ("window", self.window)):
                if value is not None:
                    raise ValueError(f"{option} has no effect without guidance; pass guidance= or drop {option}")
        if guidance is None and objective is not None and (self.record is None or self.record.summary is None):
            raise ValueError(
                "objective has no effect without guidance; pass guidance=, e.g. TFG(), or a record= with a summary "
                "of it"
            )
        if objective is not None and not unguided:
            _check_objective(guidance, objective, lookahead)


def _check_unpaired(plan: Plan, problem: Problem) -> None:
    """A model that re-noises with another eps than that of x0 allows less."""
    if (needs := needs_of(plan.guidance)).eps or needs.objective == "noisy":
        raise ValueError(
            f"model={type(problem.model).__name__} re-noises with another eps than that of x0, which "
            f"guidance={type(plan.guidance).__name__} would undo; use CFG, or guidance that moves x0 or the sample, "
            "e.g. TFG"
        )
    if isinstance(plan.lookahead, TruncatedSolve):
        problem.check_flow(f"lookahead={type(plan.lookahead).__name__}")
    if plan.sampler.extra_cost.forwards:
        problem.check_flow(f"sampler={type(plan.sampler).__name__}")


def _check_objective(guidance: Any, objective: Any, lookahead: Any) -> None:
    """The objective is of the kind that the method needs."""
    name, needs = type(guidance).__name__, needs_of(guidance).objective
    if (needs == "noisy") != bool(objective.noisy):
        wanted = (
            "noisy samples, e.g. noisy_class_log_prob" if needs == "noisy" else "clean samples, e.g. class_log_prob"
        )
        raise ValueError(f"guidance={name} needs an objective of {wanted}")
    if needs == "noisy" and lookahead is not None:
        raise ValueError(f"lookahead has no effect on {name}, which sees x_t itself; drop lookahead")
    if needs == "residual" and not hasattr(objective, "with_residual"):
        raise ValueError(
            'normalize="residual" needs an objective with a measurement residual; use normalize="value" with one of '
            "one sign, or FreeDoM"
        )
    if needs == "one sign" and getattr(objective, "crosses_zero", False):
        raise ValueError(
            f'normalize="value" divides by the objective, and {type(objective).__name__} crosses 0; give one of one '
            "sign such as a log-probability, or use FreeDoM"
        )
    if needs == "gaussian" and not hasattr(objective, "measurement_gradient"):
        raise ValueError(
            f"guidance={name} needs the objective of a Gaussian measurement itself, not {type(objective).__name__}; "
            "use gaussian_log_likelihood(operator, noise_std)"
        )


def check_reads(name: str, objective: Any, target: PyTree, shape: Any) -> Any:
    """Shape and dtype of what the objective returns; ValueError unless it reads one clean sample of the model."""
    x0 = jax.ShapeDtypeStruct(shape, jnp.float32)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), target)
    try:
        return output_of(objective, x0, one)
    except Exception as error:  # whatever a function of the user's raises
        raise ValueError(f"{name} cannot read samples of shape {shape} and this target: {error}") from error


def check_scalar(objective: Any, target: PyTree, shape: Any) -> None:
    """The objective reads one clean sample of the model and returns a real number."""
    if objective.noisy:
        return
    out = check_reads("objective", objective, target, shape)
    if getattr(out, "shape", None) is None:
        raise ValueError(f"objective must return a scalar for one sample, it returns a {type(out).__name__}; take one")
    if out.shape != ():
        raise ValueError(f"objective must return a scalar for one sample, got shape {out.shape}; sum it")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        is_complex = jnp.issubdtype(out.dtype, jnp.complexfloating)
        fix = "of complex numbers r take jnp.sum(jnp.abs(r) ** 2)" if is_complex else "make it smooth"
        raise ValueError(
            f"objective must return a real floating number, got dtype {out.dtype}; it has no gradient to follow: {fix}"
        )
