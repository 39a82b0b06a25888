"""Whether a model is wired as it was trained: its denoising error against the best linear denoiser of its own samples.

A denoiser that minimizes ``E ||x0 - D(x_t)||^2`` is no worse than any linear one, at any noise level, so

    error of the model / error of the linear denoiser <= 1        up to the noise of the estimate

of samples from what the model itself generates. Half of the samples give the linear denoiser (mean and covariance, of
images the leading axes and one variance across them), the other half are denoised. What a model is commonly mistaken
for is tried likewise, each on its own samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax.checks import check_count
from tfg_jax.denoiser import Denoiser, Model
from tfg_jax.domains.base import domain_of, packed
from tfg_jax.kinds import public
from tfg_jax.sample import sample, sampling_times
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.schedules import Level, RectifiedFlow, VPCosine, VPLinear, cosine_table, from_alphas_cumprod

__all__ = ["Finding", "Health", "examine"]

PREDICTIONS = ("eps", "x0", "v", "score", "velocity")
BAD = 2.0
"""Times the linear denoiser's error, at any level, from which a model is not what it is taken for."""
SUSTAINED = 1.15
"""The same at most levels."""
CLOSER = 0.8
"""Share of the model's errors on real data below which another wiring is the right one, whose are the least."""
WIDE, NARROW = 10.0, 1e-3
"""Standard deviations of samples beyond which they are not in units of order 1, or have collapsed."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong, in a word, and what to do about it, in a sentence."""

    name: str
    advice: str


@dataclasses.dataclass(frozen=True)
class Health:
    """What `examine` finds.

    Attributes:
        t, log_snr: the noise levels, (L,).
        error, linear: mean squared errors an entry there, of the model and of the linear denoiser; NaN where unknown.
        low, high, mean, std: of the samples that were denoised.
        findings: what is wrong; empty for a model in good health.
    """

    t: np.ndarray
    log_snr: np.ndarray
    error: np.ndarray
    linear: np.ndarray
    low: float
    high: float
    mean: float
    std: float
    findings: tuple[Finding, ...]

    @property
    def ratio(self) -> np.ndarray:
        """The model's error over the linear denoiser's, (L,)."""
        return self.error / self.linear


@public
def examine(
    key: PRNGKeyArray,
    model: Model,
    *,
    data: PyTree = None,
    cond: PyTree = None,
    num_samples: int = 128,
    steps: int = 24,
    tell: Callable[[str], None] | None = None,
) -> Health:
    """Look for what is wrong with how a model is put together.

    Args:
        key: root key.
        model: the diffusion or flow model.
        data: (n, ...) real samples, which say more than the model's own; None draws those.
        cond: (n, ...) the condition of each sample; None is unconditional.
        num_samples: own samples, >= 8, if there is no data.
        steps: steps of their sampler, whose times are the noise levels, >= 2.
        tell: is told what takes long: each thing that a faulty model may be mistaken for takes as long as the first.

    Raises:
        ValueError: as `tfg_jax.sample`, and for fewer than 8 samples.
    """
    check_count("steps", steps, low=2)
    n = num_samples if data is None else len(jax.tree.leaves(data)[0])
    if n < 8:
        raise ValueError(f"{'num_samples' if data is None else 'data'} gives {n} samples; 8 are the fewest that tell")
    x0 = None if data is None else np.asarray(packed(model, data), np.float32)
    tell = tell or (lambda line: None)
    tell(f"denoising {n} samples at {steps} levels" + (", which are drawn first" if data is None else ""))
    own = _Tried(key, model, cond, n, steps, x0)
    values = own.usable if len(own.usable) else np.full((1, 1), np.nan)
    low, high, mean, std = (float(f(values)) for f in (np.min, np.max, np.mean, np.std))
    return Health(
        own.t, own.log_snr, own.error, own.linear, low=low, high=high, mean=mean, std=std,
        findings=(*_findings(own, tell), *_precision(model)),
    )  # fmt: skip


class _Tried:
    """A model with samples and errors: as it is, or taken for another."""

    def __init__(self, key: Array, model: Any, cond: Any, n: int, steps: int, x0: np.ndarray | None):
        self.given = key, model, cond, n, steps, x0
        self.whose = "the model's own samples" if x0 is None else "the data"
        times = sampling_times(model, DDIM(steps=steps))[:-1]
        levels = jax.vmap(model.schedule.level)(times)
        self.t, self.log_snr = np.asarray(times), np.asarray(levels.log_snr)
        if x0 is None:
            out = sample(key, model, num_samples=n, cond=cond, sampler=DDIM(steps=steps))
            x0 = np.asarray(packed(model, out.x), np.float32)
            x0 = np.where(np.asarray(out.status.ok).reshape(-1, *[1] * (x0.ndim - 1)), x0, np.nan)
        self.finite = np.isfinite(x0).reshape(n, -1).all(axis=1)
        self.usable = x0[self.finite]
        self.std = float(self.usable.std()) if len(self.usable) else np.inf
        self.x0 = np.where(self.finite.reshape(-1, *[1] * (x0.ndim - 1)), x0, 0.0)
        errors = denoising_errors(jax.random.fold_in(key, 1), model, jnp.asarray(self.x0), cond, times)
        errors, self.unpaired = (np.asarray(each, np.float64) for each in errors)
        self.nonfinite = ~np.isfinite(errors).all(axis=1)
        last = self.finite & (np.arange(n) >= n // 2)
        first = self.finite & ~last
        self.error = self.linear = self.surely = np.full(len(self.t), np.nan)
        if first.sum() >= 4 and last.sum() >= 4:
            self.error = errors[:, last].mean(axis=1)
            self.surely = self.error - 2.0 * errors[:, last].std(axis=1, ddof=1) / np.sqrt(last.sum())
            self.linear = linear_errors(
                self.x0[first].reshape(first.sum(), -1), self.x0[last].reshape(last.sum(), -1), levels
            )

    @property
    def worst(self) -> float:
        """The largest ratio of errors that is no chance of the samples; infinite where these failed, or collapsed."""
        if not self.finite.all() or not NARROW < self.std < np.inf or self.nonfinite.any():
            return np.inf
        return float(np.max(np.nan_to_num(self.surely / self.linear, nan=np.inf)))

    @property
    def usual(self) -> float:
        """The ratio at the median level; infinite where `worst` is."""
        return float(np.median(self.surely / self.linear)) if self.worst < np.inf else np.inf


@jax.jit
def denoising_errors(
    key: PRNGKeyArray, model: Any, x0: Float[Array, "n *shape"], cond: PyTree, times: Float[Array, " L"]
) -> tuple[Float[Array, "L n"], Float[Array, "L n"]]:
    """Mean squared error an entry of the model's x0, and the share of its input that ``alpha x0 + sigma eps`` is away.

    By level and sample; not finite where the model's output is.
    """
    domain = domain_of(model)

    def one(key: Array, x0: Array, cond: PyTree, t: Array) -> tuple[Array, Array]:
        level = model.schedule.level(t)
        eps = jax.random.normal(key, x0.shape, x0.dtype)
        if domain is not None and domain.projects:
            eps = domain.projected(eps, cond)
        x = level.alpha * x0 + level.sigma * eps
        out = model.at(model.begin(x))(x, t, cond)
        away = level.alpha * out.x0 + level.sigma * out.eps - x
        return jnp.mean((out.x0 - x0) ** 2), jnp.sqrt(jnp.mean(away**2) / jnp.mean(x**2))

    def of_level(given: tuple[Array, Array]) -> tuple[Array, Array]:
        index, t = given
        keys = jax.random.split(jax.random.fold_in(key, index), len(x0))
        return jax.vmap(lambda key, x0, cond: one(key, x0, cond, t))(keys, x0, cond)

    return jax.lax.map(of_level, (jnp.arange(len(times)), times))


def linear_errors(first: Float[np.ndarray, "m D"], last: Float[np.ndarray, "k D"], levels: Level) -> np.ndarray:
    """Expected squared error an entry, by level, of the linear denoiser of the samples ``first`` on those of ``last``.

    In closed form over the noise. Of more entries than the samples can tell apart, the covariance is that of the
    leading axes and one variance across them, which is taken from the samples it is asked about.
    """
    first, last = first.astype(np.float64), last.astype(np.float64)
    mean, size = first.mean(axis=0), first.shape[1]
    _, values, axes = np.linalg.svd(first - mean, full_matrices=False)
    rank = min(len(values), size if 4 * size <= len(first) else max(1, len(first) // 2))
    along, variances = axes[:rank], values[:rank] ** 2 / (len(first) - 1)
    inside = (last - mean) @ along.T
    across = np.maximum(((last - mean) ** 2).sum(axis=1) - (inside**2).sum(axis=1), 0.0).mean()
    left = size - rank
    variances = np.append(variances, across / left if left else 0.0)
    squared = np.append((inside**2).mean(axis=0), across)  # of all axes across together
    count = np.append(np.ones(rank), left)
    alpha, sigma = (np.asarray(each, np.float64)[:, None] for each in (levels.alpha, levels.sigma))
    total = alpha**2 * variances + sigma**2
    errors = (sigma**2 / total) ** 2 * squared + count * (alpha * variances / total) ** 2 * sigma**2
    return errors.sum(axis=1) / size


def _findings(own: _Tried, tell: Callable[[str], None]) -> list[Finding]:
    """What is wrong, the cause before its effects."""
    key, model, *_, data = own.given
    if own.nonfinite.any():
        at = ", ".join(f"t = {t:.3g}" for t in own.t[own.nonfinite])
        advice = f"the network gives NaN or infinity at {at:.150}; look there for divisions, logarithms and overflow"
        return [Finding("non-finite", advice)]
    if getattr(model, "paired", True) and np.max(own.unpaired) > 1e-2:
        advice = (
            "alpha x0 + sigma eps is not the noisy sample that was given; return x0 and eps of one and the same level"
        )
        return [Finding("inconsistent", advice)]
    bad = own.worst > BAD or own.usual > SUSTAINED or not own.std < WIDE
    if (bad or data is not None) and (mistaken := _mistaken(own, tell)):
        return mistaken
    if bad:
        return [_fault(own)]
    low, high, shape = own.usable.min(), own.usable.max(), own.usable.shape[1:]
    if len(shape) == 3 and shape[-1] in (1, 3) and low > -0.2 and 0.7 < high < 1.3:
        return [
            Finding("range", f"{own.whose} lie in [{low:.3g}, {high:.3g}]; clips and metrics expect images in [-1, 1]")
        ]
    return []


def _fault(own: _Tried) -> Finding:
    """What is wrong where the model fits nothing else."""
    if not own.finite.all():
        failed = f"{int((~own.finite).sum())} of {own.finite.size} samples went NaN, infinite or beyond all bounds"
        return Finding("failed", f"{failed}; check schedule, prediction and weights")
    if not own.std < WIDE:
        low, high = own.usable.min(), own.usable.max()
        looks = ", as of images in [0, 255]" if -0.5 * high < low and high < 1000 else ""
        said = f"{own.whose} lie in [{low:.3g}, {high:.3g}]{looks}"
        return Finding("range", f"{said}; scale to order 1, images to [-1, 1], in training and here")
    if own.std < NARROW:
        return Finding("collapsed", f"{own.whose} are all the same; check that the weights are the trained ones")
    if own.std < NARROW * 100:
        return Finding("range", f"{own.whose} spread by {own.std:.2g} alone; scale to order 1, in training and here")
    t = own.t[np.argmax(own.error / own.linear)]
    times = f"{own.worst:.3g} times worse than a linear map at t = {t:.3g}, {own.usual:.3g} times at the median level"
    said = f"it denoises {times}"
    return Finding("error", f"{said}; check weights, schedule, prediction and network_time against the training code")


def _mistaken(own: _Tried, tell: Callable[[str], None]) -> list[Finding]:
    """What the model fits far better than what it is taken for; of two that fit as well the first, the simpler."""
    key, model, cond, n, steps, x0 = own.given
    best: tuple[float, Finding] | None = None
    for finding, other in _others(model):
        tell(f"trying whether {finding.advice.partition(':')[0]}")
        try:
            tried = _Tried(key, other, cond, n, steps, x0)
        except ValueError:  # it cannot be taken for this
            continue
        fits = tried.worst <= BAD and tried.usual <= SUSTAINED
        better = 2.0 * tried.worst < own.worst or 1.5 * tried.usual < own.usual
        if x0 is not None:
            better |= bool(np.exp(np.mean(np.log(tried.error / own.error))) < CLOSER)
        if fits and better and (best is None or tried.worst < 0.9 * best[0]):
            best = tried.worst, finding
    if best is None:
        return []
    said = best[1].advice + ("; as far as its own samples tell, real data (data=) would decide" if x0 is None else "")
    return [dataclasses.replace(best[1], advice=said)]


def _others(model: Any) -> Iterator[tuple[Finding, Any]]:
    """What a model is commonly mistaken for, and the model as that."""
    if not isinstance(model, Denoiser):
        return
    any_model: Any = model
    yield (
        Finding("sign", "the network's output has the other sign: negate it"),
        any_model.replace(apply=Negated(model.apply)),
    )
    for prediction in PREDICTIONS if model.prediction in PREDICTIONS else ():
        if prediction != model.prediction:
            said = f'the network predicts {prediction}, not {model.prediction}: pass prediction="{prediction}"'
            yield Finding("prediction", said), model.replace(prediction=prediction)  # type: ignore[attr-defined]
    schedule: Any = model.schedule
    nodes = getattr(schedule, "num_nodes", None)
    if nodes is None:
        swaps: dict[str, Any] = {type(each).__name__: each for each in (VPLinear(), VPCosine(), RectifiedFlow())}
    else:
        betas = np.linspace(1e-4, 0.02, nodes), np.linspace(0.00085**0.5, 0.012**0.5, nodes) ** 2
        tables = [np.cumprod(1.0 - beta) for beta in betas]
        names = ("the linear table", "the scaled linear table", "the cosine table")
        swaps = dict(zip(names, map(from_alphas_cumprod, [*tables, cosine_table(nodes)]), strict=True))
    for name, other in swaps.items():
        if nodes is not None or name != type(schedule).__name__:
            said = f"the network was trained on {name}, not on this {type(schedule).__name__}: pass that as schedule="
            yield Finding("schedule", said), model.replace(schedule=other)  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class Negated:
    """A network of the other sign."""

    apply: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        """As the network, negated."""
        return -self.apply(*args)


def _precision(model: Any) -> Iterator[Finding]:
    """A precision that loses more than it saves."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(getattr(model, "params", None)) if hasattr(leaf, "dtype")]
    if any(dtype == jnp.float16 for dtype in [*dtypes, getattr(model, "dtype", None)] if dtype is not None):
        yield Finding(
            "dtype", "the network works in float16, whose range overflows in guidance; use bfloat16 or float32"
        )
