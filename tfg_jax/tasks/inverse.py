"""Inverse problems on images: a model restores images from degraded, noisy measurements of them.

Sample i of a run with m draws an image restores image ``i // m``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from tfg_jax import operators
from tfg_jax.denoiser import Denoiser
from tfg_jax.guidance.base import StepContext
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip, Lookahead
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.noise import root_key
from tfg_jax.objectives.inverse import (
    gaussian_log_likelihood,
    photon_residual,
    poisson_log_likelihood,
    residual_norm,
)
from tfg_jax.result import Cost, Samples
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.methods import EndToEnd, Method, sample_task, upper_task_cost

Shape = tuple[int, int, int]

# Streams beside the samples' own, whose keys are the root folded with an index from 0.
STREAM_MEASURE, STREAM_MASK = 2**32 - 1, 2**32 - 2

PROBLEMS: Mapping[str, Callable[[Shape, PRNGKeyArray], Any]] = MappingProxyType(
    {
        "box": lambda shape, key: operators.box_inpainting(shape, (shape[0] // 2, shape[1] // 2)),
        "random": lambda shape, key: operators.random_inpainting(key, shape, 0.7),
        "sr2": lambda shape, key: operators.super_resolution(shape, 2),
        "sr4": lambda shape, key: operators.super_resolution(shape, 4),
        "sr2-bicubic": lambda shape, key: operators.super_resolution(shape, 2, "bicubic"),
        "sr4-bicubic": lambda shape, key: operators.super_resolution(shape, 4, "bicubic"),
        "blur": lambda shape, key: operators.gaussian_blur(shape, min(shape[:2]) / 16.0),
        "motion": lambda shape, key: operators.motion_blur(shape, min(shape[:2]) / 4.0, 30.0),
        "hdr": lambda shape, key: operators.dynamic_range(shape, 2.0),
        "phase": lambda shape, key: operators.phase_retrieval(shape, 2.0),
        "fourier": lambda shape, key: operators.random_fourier(key, shape, 0.25),
    }
)
"""Problem by name: shape (H, W, C) and a key for random masks to its operator. Measurements of fourier are complex."""


@public
def problem_operator(name: str, shape: Shape, key: PRNGKeyArray) -> Any:
    """The operator of a problem on images of one shape; the same key gives the same mask.

    Raises:
        ValueError: an unknown name, or images that the problem does not fit.
    """
    if name not in PROBLEMS:
        raise ValueError(f"problem={name!r} is unknown; choose one of {', '.join(PROBLEMS)}")
    return PROBLEMS[name](shape, jax.random.fold_in(root_key(key), STREAM_MASK))


@public
def measure_images(
    operator: Any,
    images: Float[AnyArray, "n H W C"],
    key: PRNGKeyArray,
    *,
    noise_std: float | None = None,
    peak: float | None = None,
) -> tuple[Inexact[np.ndarray, "n *measurement"], float]:
    """Measurements of images, and the standard deviation of their noise.

    Args:
        operator: of one image.
        images: in [-1, 1].
        key: the noise of image i depends on the key and i alone.
        noise_std: of Gaussian noise (of each part of complex measurements), > 0; or
        peak: photons of a white pixel, > 0, for Poisson noise. Its standard deviation is then the root of its mean
            variance, ``mean(2 (y + 1) / peak)``, over all measurements.

    Raises:
        ValueError: neither or both kinds of noise, noise that is not > 0, or images that do not fit the operator.
    """
    if (noise_std is None) == (peak is None):
        raise ValueError(f"noise_std={noise_std} and peak={peak}: give one of them, for Gaussian or for Poisson noise")
    root = jax.random.fold_in(root_key(key), STREAM_MEASURE)

    def one(image: Array, index: Array) -> Array:
        own = jax.random.fold_in(root, index)
        if peak is not None:
            return operators.measure_poisson(operator, image, peak, own)
        return operators.measure(operator, image, noise_std, own)  # type: ignore[arg-type]

    y = np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(images), jnp.arange(len(images))))
    return y, float(noise_std) if peak is None else poisson_noise_std(y, peak)  # type: ignore[arg-type]


def poisson_noise_std(y: Float[AnyArray, "n *measurement"], peak: float) -> float:
    """The root of the mean variance of photon counts, read off the measurements: ``mean(2 (y + 1) / peak)``."""
    return float(np.sqrt(np.mean(2.0 * np.maximum(np.asarray(y) + 1.0, 1.0 / peak) / peak)))


@dataclass(frozen=True)
class InverseTask:
    """Everything of a restoration run but the method, the key and the measurements.

    Attributes:
        model: the diffusion model; used with its null class.
        operator: what was measured, of one image.
        noise_std: standard deviation of the measurement noise, > 0.
        sampler: the sampler rule, the same for every method.
        clip: clips denoised estimates. Its gradient goes past the clip: a background at the edge of the range is
            saturated, and would get no gradient at all.
        peak: photons of a white pixel, > 0, if the noise is Poisson's; None is Gaussian noise.
        lookahead: the denoised estimate that gradients go through; None is `Tweedie`.
        window: log-SNRs (low, high) between which guidance acts; None is everywhere.
    """

    model: Denoiser
    operator: Any
    noise_std: float
    sampler: DDIM = DDIM()
    clip: Clip | None = Clip(gradient="outside")
    peak: float | None = None
    lookahead: Lookahead | None = None
    window: tuple[float, float] | None = None
    traced = ("model", "operator")

    def objective(self, guidance: Method) -> Any:
        """What a method ascends.

        End to end: the log-likelihood. PiGDM: that of Gaussian noise, of the mean variance if the noise is Poisson's.
        DPS, normalized by the residual: half the squared residual, whose scale drops out. Every other: minus the
        residual's norm, the energy of the TFG benchmark. Residuals of photon counts are weighted by their variances.
        """
        if isinstance(guidance, EndToEnd) and self.peak is not None:
            return poisson_log_likelihood(self.operator, self.peak)
        if isinstance(guidance, PiGDM | EndToEnd):
            return gaussian_log_likelihood(self.operator, self.noise_std)
        squared = isinstance(guidance, DPS) and guidance.normalize == "residual"
        if self.peak is not None:
            return photon_residual(self.operator, self.peak, squared=squared)
        return gaussian_log_likelihood(self.operator, 1.0) if squared else residual_norm(self.operator)

    def upper_cost(self, guidance: Method) -> Cost:
        """Calls per sample before a run is made; it can only be cheaper."""
        return upper_task_cost(self, guidance)

    def sample(
        self,
        key: PRNGKeyArray,
        targets: Inexact[AnyArray, "n *measurement"],
        guidance: Method,
        *,
        conditional: bool = False,
        index_offset: int | Array = 0,
    ) -> Samples:
        """One batch of samples; ``info["summary"]`` holds the norm of the residual at every step, (n, steps).

        Methods that work end to end take neither sampler nor clip nor lookahead from the task, and have one residual:
        that of the result, (n, 1).

        Args:
            key: root key.
            targets: measurements, one a sample.
            guidance: the method, `DFlow` and `Controls` among them; None is unguided.
            conditional: not for this task.
            index_offset: global index of the first sample (traced).
        Raises:
            ValueError: conditional=True, and as `tfg_jax.sample`.
        """
        if conditional:
            raise ValueError("conditional=True has no effect on an inverse problem, which asks for no class; drop it")
        return sample_task(
            self, key, targets, guidance, summary=_residual, index_offset=index_offset,
            reached=lambda objective, x0, y: objective.residual_norm(x0, y),
        )  # fmt: skip


def _residual(ctx: StepContext) -> Array:
    return ctx.residual_norm(ctx.lookahead()[0])
