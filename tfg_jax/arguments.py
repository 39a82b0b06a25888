"""Eager checks of what the user passes to `tfg_jax.sample` and its relatives: one sentence, naming argument and fix."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from tfg_jax.checks import (
    check_annotated,
    check_count,
    check_number,
    check_one,
    is_concrete,
    show,
)
from tfg_jax.denoiser import Model, needs_signal
from tfg_jax.guidance.base import Unguided, needs_of
from tfg_jax.lookahead import Estimate
from tfg_jax.noise import NoiseTape
from tfg_jax.objectives.base import check_leading, output_of
from tfg_jax.objectives.classifier import check_classes
from tfg_jax.schedules import Schedule
from tfg_jax.timesteps import Uniform
from tfg_jax.truncated import TruncatedSolve

SCHEDULE_NODES = 1000  # where a schedule is looked at, whatever the steps of a run
LAST_INDEX = 2**31  # indices of samples are int32


def check_guidance(
    guidance: Any, objective: Any, target: PyTree, lookahead: Any, window: Any, record: Any, shape: tuple, n: int
) -> None:
    """The method, its objective and its options belong together."""
    guided = guidance is not None and not isinstance(guidance, Unguided)
    if guided and objective is None:
        raise ValueError(
            f"guidance={type(guidance).__name__} needs an objective; pass objective=, e.g. class_log_prob(classifier)"
        )
    if isinstance(lookahead, Estimate):
        lookahead.check_run()
    needs = needs_of(guidance)
    if not guided or not needs.acts:
        for name, value in (("lookahead", lookahead), ("window", window)):
            if value is not None:
                raise ValueError(f"{name} has no effect without guidance; pass guidance= or drop {name}")
    if guidance is None and objective is not None and (record is None or record.summary is None):
        raise ValueError(
            "objective has no effect without guidance; pass guidance=, e.g. TFG(), or a record= with a summary of it"
        )
    if target is not None and objective is None:
        raise ValueError("target has no effect without an objective; pass objective= or drop target")
    if objective is None:
        return
    noisy_method = needs.objective == "noisy"
    if guided and noisy_method != bool(objective.noisy):
        wanted = "noisy samples, e.g. noisy_class_log_prob" if noisy_method else "clean samples, e.g. class_log_prob"
        raise ValueError(f"guidance={type(guidance).__name__} needs an objective of {wanted}")
    if noisy_method and lookahead is not None:
        raise ValueError(f"lookahead has no effect on {type(guidance).__name__}, which sees x_t itself; drop lookahead")
    if needs.objective == "residual" and not hasattr(objective, "residual_norm"):
        raise ValueError(
            'normalize="residual" needs an objective with a measurement residual; use normalize="value" with one of '
            "one sign, or FreeDoM"
        )
    if needs.objective == "one sign" and getattr(objective, "crosses_zero", False):
        raise ValueError(
            f'normalize="value" divides by the objective, and {type(objective).__name__} crosses 0; give one of one '
            "sign such as a log-probability, or use FreeDoM"
        )
    if needs.objective == "gaussian" and not hasattr(objective, "measurement_gradient"):
        raise ValueError(
            f"guidance={type(guidance).__name__} needs the objective of a Gaussian measurement itself, not "
            f"{type(objective).__name__}; use gaussian_log_likelihood(operator, noise_std)"
        )
    objective.check(target, n, shape)
    check_scalar(objective, target, shape)


def check_scalar(objective: Any, target: PyTree, shape: tuple[int, ...]) -> None:
    """The objective reads one clean sample of the model and returns a real number."""
    if objective.noisy:
        return
    x0 = jax.ShapeDtypeStruct(shape, jnp.float32)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), target)
    try:
        out = output_of(objective, x0, one)
    except Exception as error:  # whatever a function of the user's raises
        raise ValueError(f"objective cannot read samples of shape {shape} and this target: {error}") from error
    if getattr(out, "shape", None) != ():
        raise ValueError(
            f"objective must return a scalar for one sample, got shape {getattr(out, 'shape', None)}; sum it"
        )
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(
            f"objective must return a real floating number, got dtype {out.dtype}; it has no gradient to follow: of "
            "complex numbers r take jnp.sum(jnp.abs(r) ** 2)"
        )


def check_cond(model: Model, cond: Any, num_samples: int) -> None:
    """Conditions are one class a sample, in range, for networks that have classes."""
    if cond is None:
        if model.num_classes is not None and model.null_cond is None:
            raise ValueError(
                "cond=None, but the model has classes and no null condition; pass cond=, one class a sample"
            )
        return
    if model.num_classes is None:
        check_leading(cond, num_samples, "cond")
        return
    check_classes("cond", cond, num_samples, model.num_classes, each=model.cond_shape)


def check_model(model: Model, guidance: Any, sampler: Any, cond: Any, num_samples: int, lookahead: Any = None) -> None:
    """The model's own arguments, and whether what it returns is what guidance and sampler read."""
    model.check(cond is not None, num_samples)
    if model.paired:
        return
    name = type(model).__name__
    if (needs := needs_of(guidance)).eps or needs.objective == "noisy":
        raise ValueError(
            f"model={name} re-noises with another eps than that of x0, which guidance={type(guidance).__name__} would "
            "undo; use CFG, or guidance that moves x0 or the sample, e.g. TFG"
        )
    what = None
    if isinstance(lookahead, TruncatedSolve):
        what = f"lookahead={type(lookahead).__name__}"
    elif sampler is None or sampler.extra_cost.forwards:
        what = "inversion" if sampler is None else f"sampler={type(sampler).__name__}"
    if what is not None:
        raise ValueError(f"model={name} has no probability flow for {what} to follow; use CFG, or Tweedie and DDIM")


def check_start(start: Any, shape: tuple[int, ...], num_samples: int) -> None:
    """``start`` is (x_t, t): finite samples of the model's shape and one time in (0, 1]."""
    if not isinstance(start, tuple | list) or len(start) != 2:
        raise ValueError("start must be (x_t, t): noisy samples and their time in (0, 1]")
    check_samples("start x_t", start[0], (num_samples, *shape))
    if np.shape(start[1]) != ():
        raise ValueError(f"start t has shape {np.shape(start[1])}; all samples start at one time, give a number")
    check_number("start t", start[1], low=0.0, high=1.0, strict=True)


def check_samples(name: str, x: Any, expected: tuple[int, ...]) -> None:
    """Floating samples of the expected shape, finite when concrete."""
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    if shape != expected:
        raise ValueError(f"{name} has shape {shape}, the model needs {expected}; images are (n, H, W, C)")
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{name} has dtype {dtype}, floating point is needed; scale integers to [-1, 1] first")
    if is_concrete(x) and not np.all(np.isfinite(np.asarray(x))):
        raise ValueError(f"{name} holds NaN or infinity; clean it first")


def check_noise(noise: NoiseTape, shape: tuple[int, ...], steps: int, n_recur: int, num_samples: int) -> None:
    """A tape has (num_samples, steps, n_recur, ...) draws, and initial noise of (num_samples, *shape)."""
    lead = (num_samples, steps, n_recur)
    for name in ("step", "renoise", "mc", "churn"):
        record = getattr(noise, name)
        if record is not None and tuple(record.shape[:3]) != lead:
            raise ValueError(
                f"noise.{name} has leading axes {record.shape[:3]}, the run needs {lead} (samples, steps, n_recur)"
            )
    if noise.initial is not None:
        check_samples("noise.initial", noise.initial, (num_samples, *shape))


def check_grid(grid: Any, schedule: Schedule, steps: int) -> tuple[str, Any]:
    """The grid's times decrease inside [0, 1], and belong to the schedule's table.

    Returns its name and its first time, None if that cannot be read now; for `check_signal`.
    """
    check_annotated(schedule)
    if grid is None:
        return "schedule's t_start", schedule.t_start if _check_schedule(schedule) else None
    usable: bool = callable(grid) and not isinstance(grid, type)
    if not usable:
        raise ValueError(f"grid={show(grid)} is no time grid; pass one such as Uniform()")
    check_annotated(grid)
    nodes = getattr(schedule, "num_nodes", None)
    if nodes is not None and getattr(grid, "num_nodes", nodes) != nodes:
        raise ValueError(
            f"grid has num_nodes={grid.num_nodes}, the schedule's table has {nodes}; pass num_nodes={nodes}"
        )
    name = f"grid={type(grid).__name__}"
    # A grid of numbers is checked under a trace as well; a function may close over what is traced.
    known = hasattr(grid, "__dataclass_fields__") and all(
        is_concrete(leaf) for leaf in jax.tree.leaves((grid, schedule))
    )
    with jax.ensure_compile_time_eval() if known else nullcontext():
        try:
            times: Any = grid(schedule, steps)
        except (TypeError, ArithmeticError) as error:
            raise ValueError(f"grid={show(grid)} gives no {steps} times: {error}; mend its numbers"[:300]) from error
    if times.shape != (steps + 1,):
        raise ValueError(
            f"{name} gives times of shape {times.shape}, steps={steps} needs ({steps + 1},); its "
            "parameters are one number each"
        )
    if not is_concrete(times):
        return name, None
    t = np.asarray(times, np.float64)
    inside = np.all(np.isfinite(t)) and t[0] <= 1.0 + 1e-5 and np.all(t[:-1] > 0) and t[-1] >= 0
    if not inside or np.any(np.diff(t) > 0):
        raise ValueError(
            f"{name} gives the times {np.array2string(t, precision=4, threshold=6)}; they must "
            "decrease from at most 1, and only the last may be 0"
        )
    return name, float(t[0])


def check_signal(model: Model, guidance: Any, name: str, first: Any) -> None:
    """Where the schedule has no signal, network and guidance can say what x0 is; whichever way the run starts there.

    Args:
        model: the model.
        guidance: the method, or None.
        name: what says when the run starts.
        first: the time it starts at; None, or traced, if that cannot be read now.
    """
    if needs_signal(model):
        who, fix = "this network's prediction", "use one of v, x0 or velocity"
    elif (needs := needs_of(guidance)).eps or needs.signal:
        who, fix = f"the eps that guidance={type(guidance).__name__} edits", "use guidance of x0 or x_t such as TFG"
    else:
        return
    schedule = model.schedule
    if first is None or not all(is_concrete(leaf) for leaf in (first, *jax.tree.leaves(schedule))):
        return
    known = all(isinstance(leaf, int | float) for leaf in jax.tree.leaves(schedule))
    if not (_has_signal_again if known else _has_signal)(schedule, float(first)):
        raise ValueError(
            f"{name} starts at t={float(first):g}, where the schedule has no signal (alpha = 0): {who} does not tell "
            f"x0 there; {fix}, or start at t_start={float(schedule.t_start):g}, e.g. with Uniform"
        )


def _has_signal(schedule: Schedule, t: float) -> bool:
    with jax.ensure_compile_time_eval():
        level = schedule.level(t)
        # A cosine that vanishes is left with round-off.
        return float(level.alpha) > 4.0 * float(jnp.finfo(level.alpha.dtype).eps) * float(level.sigma)


_has_signal_again = lru_cache(maxsize=64)(_has_signal)


def _check_schedule(schedule: Schedule) -> bool:
    """`Uniform` fits every schedule whose signal-to-noise ratio falls with time, as parameters in range make it.

    Whether that could be looked at.
    """
    # Numbers on a device are not waited for: what they come to is seen in the samples' status.
    if not all(isinstance(leaf, int | float) for leaf in jax.tree.leaves(schedule)):
        return False
    if not _falls(schedule):
        name = type(schedule).__name__
        raise ValueError(f"schedule={name}(...) has no signal-to-noise ratio that falls with time; mend its numbers")
    return True


@lru_cache(maxsize=64)
def _falls(schedule: Schedule) -> bool:
    with jax.ensure_compile_time_eval():  # also where the first call of the process is one under a trace
        levels = schedule.level(Uniform()(schedule, SCHEDULE_NODES))
    alpha, sigma = (np.asarray(value, np.float64) for value in (levels.alpha, levels.sigma))
    return bool(np.all(alpha >= 0) and np.all(sigma >= 0) and np.all(np.diff(alpha / (alpha + sigma)) >= 0))


def check_counts(num_samples: Any, chunk: Any, index_offset: Any) -> None:
    """Whole numbers in range."""
    check_count("num_samples", num_samples)
    if num_samples > LAST_INDEX:
        raise ValueError(f"num_samples={show(num_samples)} must be at most {LAST_INDEX}, the indices there are")
    if chunk is not None:
        check_count("chunk", chunk)
    if not isinstance(index_offset, jax.Array):
        check_count("index_offset", index_offset, low=0)
    elif index_offset.shape != () or not jnp.issubdtype(index_offset.dtype, jnp.integer):
        raise ValueError(
            f"index_offset has shape {index_offset.shape} and dtype {index_offset.dtype}; give one integer >= 0"
        )
    if is_concrete(index_offset) and not 0 <= int(index_offset) <= LAST_INDEX - num_samples:
        raise ValueError(f"index_offset={int(index_offset)} must lie in 0..{LAST_INDEX - num_samples}")


def check_window(window: Any) -> None:
    """(low, high) log-SNRs with low < high."""
    if window is None:
        return
    if not isinstance(window, tuple | list) or len(window) != 2:
        shown = window if isinstance(window, float) else show(window)
        raise ValueError(f"window={shown} must be (low, high), log-SNRs between which guidance acts")
    for name, bound in zip(("low", "high"), window, strict=True):
        check_one(f"window's {name}", bound)
    if all(is_concrete(bound) for bound in window) and not np.asarray(window[0]) < np.asarray(window[1]):
        raise ValueError(f"window={window!r} must be (low, high) with low < high")
