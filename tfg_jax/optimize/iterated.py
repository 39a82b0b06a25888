"""Iterated gradient guidance (Algorithm 1 of Guo et al., arXiv 2404.14743), with fine-tuning between rounds (2).

    z_0     unguided samples
    g_k     = grad f(z_k)                      of each sample, or of the batch's mean
    y_k     = delta + g_k^T z_k                or  goal - f(z_k) + g_k^T z_k
    z_{k+1} = fresh samples from noise, guided by (g_k, y_k)

On data ``N(mu, Sigma)``, by the batch's mean, a fixed point maximizes ``f(x) - lambda/2 |x - mu|^2_{Sigma^-1}`` with
lambda = noise_std^2 / delta: the mean ascends a regularized reward, and `Optimized.implicit_lambda` says how strongly.
Cost: rounds x batch guided samples and rounds gradients of the reward.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax import arguments
from tfg_jax.batch import Batching, under_trace
from tfg_jax.checks import check_choice, check_count, check_number, is_concrete
from tfg_jax.denoiser import Model
from tfg_jax.domains.base import domain_of
from tfg_jax.guidance.gradient import GradientGuidance, NaiveGradientGuidance, noise_std_of
from tfg_jax.kinds import public
from tfg_jax.locks import FolderLock
from tfg_jax.lookahead import Clip, Lookahead
from tfg_jax.noise import root_key
from tfg_jax.objectives.base import Objective, as_objective, uses_cond
from tfg_jax.objectives.linear import linear
from tfg_jax.optimize import folder as disk
from tfg_jax.optimize.black_box import Autodiff, Gradient
from tfg_jax.optimize.finetune import Adapt
from tfg_jax.optimize.rounds import Batch, Goal, Linearize, assess, off_support
from tfg_jax.problem import Plan, Problem
from tfg_jax.result import Samples
from tfg_jax.sample import sample, sampling_times
from tfg_jax.samplers.base import Sampler
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.struct import short_repr

Notes = dict[str, float]


@dataclasses.dataclass(frozen=True, repr=False)
class Optimized:
    """What `iterate` returns.

    Attributes:
        x: (B, *shape) samples of the last good round; a failed sample holds its last good state.
        model: the model of that round, changed if it was fine-tuned.
        rounds: rounds done.
        history: name -> (rounds + 1,) array; entry 0 is unguided: "reward", "reward_std", "reward_best",
            "gradient_norm" (mean |g|), "failed" (samples), "seconds", "gradient_over_noise" (mean |g| / noise_std;
            guidance fades where it is of order 1 or smaller) and, with a basis, "off_support".
        implicit_lambda: noise_std^2 / delta; None with a goal, a constant beta or fine-tuning, where there is none.
        stopped: the round in which every sample failed, which ended the run; None if that did not happen.
    """

    x: Float[Array, "B *shape"]
    model: Any
    rounds: int
    history: dict[str, np.ndarray]
    implicit_lambda: float | None
    stopped: int | None

    def __repr__(self) -> str:
        return short_repr(self)


@public
def iterate(
    key: PRNGKeyArray,
    model: Model,
    objective: Objective | Callable[..., Array],
    *,
    rounds: int,
    batch: int,
    delta: ArrayLike | None = None,
    goal: ArrayLike | None = None,
    target: PyTree = None,
    guidance: GradientGuidance | NaiveGradientGuidance | None = None,
    linearize: Linearize = "sample",
    gradient: Gradient | None = None,
    adapt: Adapt | None = None,
    sampler: Sampler | None = None,
    cond: PyTree = None,
    lookahead: Lookahead | None = None,
    clip: Clip | None = None,
    chunk: int | None = None,
    initial: Float[Array, "B *shape"] | None = None,
    basis: Float[Array, "D d"] | None = None,
    folder: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    save_every: int | None = None,
    overwrite: bool = False,
    on_round: Callable[[int, Batch, Notes], bool | None] | None = None,
) -> Optimized:
    """Raise a reward by rounds of guided sampling.

    Args:
        key: root key; round k uses ``fold_in(key, k)``.
        model: the diffusion or flow model.
        objective: the reward f of a clean sample, higher is better; as in `tfg_jax.sample`, or `from_values`.
        rounds: guided rounds, >= 1.
        batch: samples a round, B >= 1. Guidance of one sample does not depend on it.
        delta: > 0, the rise of reward asked for each round, in units of f. Give this or ``goal``.
        goal: the reward asked for in every round.
        target: leaves (B, ...), given to the objective.
        guidance: `GradientGuidance` (default) or `NaiveGradientGuidance`.
        linearize: "sample" takes the gradient at each sample (as the published code), "mean" at the batch's mean (as
            the published algorithm).
        gradient: how it is found: `Autodiff` (default), `Antithetic` or `LeastSquares`.
        adapt: changes the model between rounds: `FineTune` or `Recentre`; None is Algorithm 1.
        sampler, cond, lookahead, clip, chunk: as in `tfg_jax.sample`, the same in every round.
        initial: (B, *shape) standard normal starting noise used again in every round; None draws it anew.
        basis: (D, d) orthonormal columns; records how far samples are off their span.
        folder: where the run's state is kept: the same call goes on where it stopped; another configuration is refused.
        config: further JSON values that describe the run, for that comparison.
        save_every: rounds between saves (default 10), >= 1; the end is always saved.
        overwrite: forget what the folder holds.
        on_round: called as ``on_round(number, batch, numbers)`` after every good round, from 0, with a `Batch` (samples
            ``z``, their rewards ``value``, gradients ``g`` and targets ``y``); True stops the run.

    Raises:
        ValueError: an argument of wrong shape or range, one without effect, an objective that is no scalar, a model
            that gives no finite sample without guidance, or a folder of another configuration.
    """
    if under_trace(key):
        raise ValueError("key is traced, but rounds are run by the host; call iterate outside of jit, vmap and lax.map")
    run = _Run(
        problem=Problem(model, cond, as_objective(objective), target), batching=Batching(batch, chunk=chunk),
        plan=Plan(guidance or GradientGuidance(), sampler or DDIM(), lookahead, clip), goal=Goal(delta, goal),
        gradient=gradient or Autodiff(), adapt=adapt, initial=initial, basis=basis, linearize=linearize, rounds=rounds,
    )  # fmt: skip
    _check(run)
    if folder is None:
        for name, value in (("config", config), ("save_every", save_every), ("overwrite", overwrite or None)):
            if value is not None:
                raise ValueError(f"{name} has no effect without a folder; pass folder= or drop {name}")
        return _raise(run, root_key(key), None, 1, on_round)
    check_count("save_every", 1 if save_every is None else save_every)
    described = {**disk.describe(run, key), **(config or {})}
    with disk.claim(Path(folder), described, overwrite=overwrite) as lock:
        return _raise(run, root_key(key), lock, save_every or 10, on_round)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What is raised and how: the problem is the reward's, the plan that of guided rounds."""

    problem: Problem
    plan: Plan
    batching: Batching
    goal: Goal
    gradient: Any
    adapt: Any
    initial: Array | None
    basis: Array | None
    linearize: Linearize
    rounds: int

    def draw(self, key: PRNGKeyArray, model: Any, last: Batch | None) -> Samples:
        """The samples of a round: unguided, or guided by the last batch."""
        options: dict[str, Any] = {}
        if self.initial is not None:
            t = sampling_times(model, self.plan.sampler)[0]
            level = model.schedule.level(t)
            options["start"] = (level.scale.astype(self.initial.dtype) * self.initial, t)
        if last is not None:
            options |= {"guidance": self.plan.guidance, "objective": linear(), "target": (last.g, last.y)}
            options["lookahead"] = self.plan.lookahead
        return sample(
            key, model, num_samples=self.batching.num_samples, chunk=self.batching.chunk, cond=self.problem.cond,
            sampler=self.plan.sampler, clip=self.plan.clip, **options,
        )  # fmt: skip

    def first(self, key: PRNGKeyArray) -> tuple[disk.State, Array, dict[str, Array]]:
        """The state after the unguided round, which samples were good, and its numbers."""
        drawing, sloping, _ = jax.random.split(jax.random.fold_in(key, 0), 3)
        drawn = self.draw(drawing, self.problem.model, None)
        batch, good, note = self.assess(sloping, drawn, None)
        adapted = None if self.adapt is None else self.adapt.init(self.problem.model, len(drawn.x), drawn.x.dtype)
        return disk.begin(self, batch, adapted), good, note

    def assess(self, key: PRNGKeyArray, drawn: Samples, last: Batch | None) -> tuple[Batch, Array, dict[str, Array]]:
        """The batch with its linearized reward, which samples are good, and the numbers of the round."""
        batch, good, note = assess(
            key, self.problem.objective, self.gradient, drawn.x, drawn.status.ok, target=self.problem.target,
            goal=self.goal, last=last, linearize=self.linearize,
        )  # fmt: skip
        if self.basis is not None:
            note["off_support"] = off_support(batch.z, self.basis).mean()
        return batch, good, note


def _raise(
    run: _Run, key: PRNGKeyArray, lock: FolderLock | None, save_every: int, on_round: Callable | None
) -> Optimized:
    state = None if lock is None else disk.restore(lock.folder, run, key)
    stop, stopped = False, None
    since = time.monotonic()

    def note_down(state: disk.State, numbers: dict[str, Array]) -> disk.State:
        nonlocal since, stop
        now = time.monotonic()
        noted = {name: float(value) for name, value in jax.device_get(numbers).items()} | {"seconds": now - since}
        std = noise_std_of(run.plan.guidance)
        if std is not None:
            noted["gradient_over_noise"] = noted["gradient_norm"] / float(np.asarray(std))
        since = now
        state = state.noted(noted)
        if on_round is not None:
            stop = bool(on_round(int(state.round), state.batch, noted))
        return state

    if state is None:
        state, good, numbers = run.first(key)
        if not bool(good.any()):
            raise ValueError("no sample of the unguided round is finite, or has a finite reward; check the model")
        state = note_down(state, numbers)
    saved = None
    while int(state.round) < run.rounds and not stop:
        number = int(state.round) + 1
        drawing, sloping, tuning = jax.random.split(jax.random.fold_in(key, number), 3)
        model, adapted = disk.model_of(run, state), state.adapted
        if run.adapt is not None:
            model, adapted = run.adapt.update(tuning, number, model, adapted, state.batch.z, run.problem.cond)
        batch, good, numbers = run.assess(sloping, run.draw(drawing, model, state.batch), state.batch)
        if not bool(good.any()):
            stopped = number
            break
        state = note_down(state.after(run, batch, model, adapted), numbers)
        if lock is not None and number % save_every == 0:
            disk.save(lock, state)
            saved = number
    if lock is not None and saved != int(state.round):
        disk.save(lock, state)
    done = int(state.round)
    history = {name: np.asarray(values)[: done + 1] for name, values in state.history.items()}
    return Optimized(state.batch.z, disk.model_of(run, state), done, history, _lambda(run), stopped)


def _lambda(run: _Run) -> float | None:
    std = noise_std_of(run.plan.guidance)
    if std is None or run.goal.delta is None or run.adapt is not None:
        return None
    return float(np.asarray(std)) ** 2 / float(np.asarray(run.goal.delta))


def _check(run: _Run) -> None:
    problem, guidance = run.problem, run.plan.guidance
    check_count("rounds", run.rounds)
    check_count("batch", run.batching.num_samples)
    run.batching.check()
    check_choice("linearize", run.linearize, ("sample", "mean"))
    delta, goal = run.goal
    if (delta is None) == (goal is None):
        raise ValueError(f"delta={delta} and goal={goal}: give one, the rise a round or the reward wanted")
    check_number("delta", delta, low=0.0, strict=True)
    check_number("goal", goal)
    if not isinstance(guidance, GradientGuidance | NaiveGradientGuidance):
        raise ValueError(f"guidance={type(guidance).__name__} has no (g, y); use GradientGuidance")
    domain, sees = domain_of(problem.model), uses_cond(problem.objective)
    if sees or not (domain is None or domain.spec.is_array):
        what = "objective sees the condition" if sees else "model's samples are several arrays"
        raise ValueError(f"{what}, which rounds do not know; give one of a single array, of x0 and target alone")
    problem.check(run.batching.num_samples)
    run.gradient.check(problem.objective)
    if run.adapt is not None:
        run.adapt.check(problem.model, problem.cond)
    if run.initial is not None:
        arguments.check_samples("initial", run.initial, (run.batching.num_samples, *problem.model.shape))
    if run.basis is not None:
        size = int(np.prod(problem.model.shape))
        shape = np.shape(run.basis)
        if len(shape) != 2 or shape[0] != size:
            raise ValueError(f"basis has shape {shape}, samples of {size} numbers need ({size}, d)")
        if is_concrete(run.basis):
            columns = np.asarray(run.basis)
            if not np.allclose(columns.T @ columns, np.eye(shape[1]), atol=1e-4):
                raise ValueError("basis must have orthonormal columns; use numpy.linalg.qr(basis)[0]")
