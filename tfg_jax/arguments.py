"""Eager checks of what the user passes to `tfg_jax.sample` and its relatives: one sentence, naming argument and fix."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tfg_jax.checks import check_number, check_one, is_concrete, show
from tfg_jax.declare import check_single_numbers
from tfg_jax.denoiser import Model, check_null, needs_signal
from tfg_jax.domains.base import named_arrays, packed
from tfg_jax.guidance.base import needs_of
from tfg_jax.kinds import check_kind, kind_of
from tfg_jax.noise import NoiseTape
from tfg_jax.objectives.base import check_leading
from tfg_jax.objectives.classifier import check_classes
from tfg_jax.schedules import Schedule
from tfg_jax.timesteps import Uniform

F = TypeVar("F", bound=Callable)

SCHEDULE_NODES = 1000  # where a schedule is looked at, whatever the steps of a run


def called_as(other: Callable) -> Callable[[F], F]:
    """Gives a function the signature of another one, whose arguments it gets: all by name, with their defaults."""
    signature = inspect.signature(other)

    def decorated(function: F) -> F:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return function(**bound.arguments)

        result = {"return": function.__annotations__["return"]}
        called.__signature__ = signature.replace(return_annotation=result["return"])  # type: ignore[attr-defined]
        called.__annotations__ = {**other.__annotations__, **result}
        return called  # type: ignore[return-value]

    return decorated


def count_of(num_samples: int | None, *per_sample: PyTree) -> int:
    """How many samples there are: ``num_samples``, or else what the first of the samples' data says."""
    if num_samples is not None:
        return num_samples
    for leaf in jax.tree.leaves(per_sample):
        if getattr(leaf, "ndim", 0):
            return leaf.shape[0]
    raise ValueError("num_samples is missing; pass it, or a target, cond or start with one entry a sample")


def check_cond(model: Any, cond: Any, num_samples: int) -> None:
    """Conditions are one class a sample, in range, for networks that have classes."""
    if cond is None:
        if model.num_classes is not None and model.null_cond is None:
            raise ValueError(
                "cond=None, but the model has classes and no null condition; pass cond=, one class a sample (of "
                "molecules the atom count)"
            )
        return
    if model.num_classes is None:
        check_leading(cond, num_samples, "cond")
        if getattr(model, "null", None) is not None:
            check_null(model.null, cond)
        return
    check_classes("cond", cond, num_samples, model.num_classes, each=model.cond_shape)


def check_arrays(name: str, model: Model, samples: PyTree) -> None:
    """Raise ValueError unless samples, as their user gives them, are floating arrays with an axis of samples."""
    for each, value, _ in named_arrays(name, model, samples):
        check_kind(each, value, kind_of(Float[Array, "n *shape"]))


def entered(name: str, model: Model, samples: PyTree, num_samples: int) -> Array:
    """Samples as their user gives them, checked, as arrays of the core."""
    for each, value, shape in named_arrays(name, model, samples):
        check_samples(each, value, (num_samples, *shape))
    return packed(model, samples)


def check_start(start: Any, model: Model, num_samples: int) -> None:
    """``start`` is (x_t, t): finite samples of the model and one time in (0, 1]."""
    if not isinstance(start, tuple | list) or len(start) != 2:
        raise ValueError("start must be (x_t, t): noisy samples and their time in (0, 1]")
    entered("start x_t", model, start[0], num_samples)
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


def entered_noise(noise: NoiseTape, model: Model, lead: tuple[int, int, int]) -> NoiseTape:
    """A tape of (samples, steps, n_recur, ...) draws, ``lead`` of them, and initial noise, as arrays of the core."""
    arrays = {}
    for name in ("step", "renoise", "mc", "churn"):
        if (record := getattr(noise, name)) is None:
            continue
        for each, value, shape in named_arrays(f"noise.{name}", model, record):
            check_kind(each, value, kind_of(Float[Array, "..."]))
            if tuple(value.shape[:3]) != lead:
                raise ValueError(
                    f"{each} has leading axes {value.shape[:3]}, the run needs {lead} (samples, steps, n_recur)"
                )
            if each != f"noise.{name}" and value.shape[value.ndim - len(shape) :] != shape:  # else told when drawn
                raise ValueError(f"{each} holds draws of shape {value.shape[3:]}, the run needs {shape}")
        arrays[name] = packed(model, record)
    initial = None if noise.initial is None else entered("noise.initial", model, noise.initial, lead[0])
    return noise.replace(initial=initial, **arrays)  # type: ignore[attr-defined]


def check_grid(grid: Any, schedule: Schedule, steps: int) -> tuple[str, Any]:
    """The grid's times decrease inside [0, 1], and belong to the schedule's table.

    Returns its name and its first time, None if that cannot be read now; for `check_signal`.
    """
    check_single_numbers(schedule)
    if grid is None:
        return "schedule's t_start", schedule.t_start if _check_schedule(schedule) else None
    usable: bool = callable(grid) and not isinstance(grid, type)
    if not usable:
        raise ValueError(f"grid={show(grid)} is no time grid; pass one such as Uniform()")
    check_single_numbers(grid)
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
