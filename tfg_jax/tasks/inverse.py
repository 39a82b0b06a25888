"""Inverse problems on images: a model restores images from degraded, noisy measurements of them.

Sample i of a run with m draws an image restores image ``i // m``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from tfg_jax import metrics, operators, struct
from tfg_jax.checks import check_count
from tfg_jax.config import to_dict
from tfg_jax.guidance.base import StepContext
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip
from tfg_jax.metrics.inverse_run import per_draw
from tfg_jax.noise import root_key
from tfg_jax.objectives.inverse import (
    gaussian_log_likelihood,
    photon_residual,
    poisson_log_likelihood,
    residual_norm,
)
from tfg_jax.rows import AnyArray, Arrays, Rows, as_rows, by_blocks, repeated
from tfg_jax.runs.store import fingerprint
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.base import EndToEnd, Evaluation, Method, Task
from tfg_jax.tasks.scoring import features_of

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


@struct.dataclass
class InverseTask(Task):
    """Everything of a restoration run but the method, the seed and the number of restorations.

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
        measurements: of the images, (m, ...); those of a run of n samples are each restored n / m times.
        truth: the images themselves, (m, H, W, C); None where nobody knows them.
        names: of the images.
        evaluator: classifier in whose features perceptual distance is measured; None leaves it out.
        about: what else decides the samples, as JSON, for `describe`.
        warnings: about the networks, for the reader.
        tuned: tuned methods by name.
    """

    model: Any
    operator: Any
    noise_std: Any
    sampler: Any = DDIM()
    clip: Clip | None = Clip(gradient="outside")
    peak: Any = None
    lookahead: Any = None
    window: Any = None
    measurements: Any = None
    truth: Any = None
    evaluator: Any = None
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())
    about: str = struct.field(pytree_node=False, default="{}")
    warnings: tuple[str, ...] = struct.field(pytree_node=False, default=())
    tuned: Mapping[str, Any] = struct.field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many were measured."""
        return 0 if self.measurements is None else len(self.measurements)

    def targets(self, n: int) -> np.ndarray | Rows:
        """The measurements, each as often as they fit; of fewer samples the first ones."""
        check_count("num_samples", n)
        if not self.images or (n > self.images and n % self.images):
            raise ValueError(
                f"num_samples={n} is no multiple of the {self.images} measurements; give as many draws of each"
            )
        return repeated(np.asarray(self.measurements)[:n], max(n // self.images, 1))

    def of_images(self, images: slice) -> InverseTask:
        """The task of some of the images alone."""
        each = {name: getattr(self, name) for name in ("measurements", "truth", "names")}
        return dataclasses.replace(self, **{name: of[images] for name, of in each.items() if of is not None})

    def objective(self, method: Method) -> Any:
        """What a method ascends.

        End to end: the log-likelihood. PiGDM: that of Gaussian noise, of the mean variance if the noise is Poisson's.
        DPS, normalized by the residual: half the squared residual, whose scale drops out. Every other: minus the
        residual's norm, the energy of the TFG benchmark. Residuals of photon counts are weighted by their variances.
        """
        if isinstance(method, EndToEnd) and self.peak is not None:
            return poisson_log_likelihood(self.operator, self.peak)
        if isinstance(method, PiGDM | EndToEnd):
            return gaussian_log_likelihood(self.operator, self.noise_std)
        squared = isinstance(method, DPS) and method.normalize == "residual"
        if self.peak is not None:
            return photon_residual(self.operator, self.peak, squared=squared)
        return gaussian_log_likelihood(self.operator, 1.0) if squared else residual_norm(self.operator)

    def value(self, method: Method) -> Callable[[StepContext], Array]:
        """The norm of the residual."""
        return _residual

    def reached(self, objective: Any, x: Array, target: Array, cond: Any) -> Array:
        """The same of a result."""
        return objective.with_residual(x, target)[1]

    def evaluate(self, samples: Arrays, *, seconds: float = 0.0, config: Mapping[str, Any] | None = None) -> Evaluation:
        """As `Task.evaluate`: residuals, distances from the truth where it is known, spread of the draws."""
        x, network, task = as_rows(samples["x"]), self.evaluator, self.of_images(slice(len(samples["x"])))
        truth = task.truth
        shown = x.map(_finite) if isinstance(x, Rows) else _finite(x)
        run = metrics.InverseRun.of_stored(
            samples,
            truth=truth,
            pictures=as_picture(np.asarray(task.measurements), self.model.shape),
            residual=by_blocks(partial(metrics.measurement_residual, self.operator), shown, samples["target"]),
            noise_std=self.noise_std,
            seconds=seconds,
            names=task.names,
            features=None if network is None else features_of(network, shown),
            truth_features=None if network is None or truth is None else metrics.features(network, truth),
            path=samples["objective"] if samples["objective"].shape[1] > 1 else None,  # end to end: the result's alone
            config=config or {},
            notes=self.warnings,
        )
        return Evaluation(per_draw(run), lambda: metrics.inverse_metrics(run), run)

    def scored_by(self, metric: str) -> Any:
        """The evaluator of perceptual distances; the truth, which no network says, of all else."""
        return self.evaluator if metric == "feature_distance" else None

    def bare(self) -> InverseTask:
        """The task without images, evaluator and presets."""
        return dataclasses.replace(self, measurements=None, truth=None, evaluator=None, tuned={})

    def notes(self) -> list[str]:
        """What is left out, and why."""
        return list(self.warnings)

    def describe(self, method: Method, conditional: bool, targets: Any) -> dict[str, Any]:
        """All that decides the samples but the seed and their number, as JSON: another value is another folder."""
        about = json.loads(self.about) | {
            "guidance": to_dict(method), "operator_sha256": fingerprint(self.operator),
            "schedule": to_dict(self.model.schedule), "prediction": self.model.prediction,
            "weights_sha256": {"model": fingerprint(self.model.params)},
        }  # fmt: skip
        if isinstance(method, EndToEnd):
            return about
        about |= {name: to_dict(getattr(self, name)) for name in ("sampler", "clip", "lookahead")}
        return about if self.window is None else about | {"window": to_dict(self.window)}

    def asked(self, objective: Any, targets: Array, conditional: bool) -> tuple[Array, None]:
        """The measurements, and no condition. ValueError for conditional=True."""
        if conditional:
            raise ValueError("conditional=True has no effect on an inverse problem, which asks for no class; drop it")
        return targets, None


def _finite(x: np.ndarray, where: slice | None = None) -> np.ndarray:
    """Images with 0 in the place of what is not finite: failed samples are left out of every mean."""
    return np.where(np.isfinite(x).all(axis=(1, 2, 3), keepdims=True), x, 0.0).astype(np.float32)


def _residual(ctx: StepContext) -> Array:
    return ctx.residual_norm(ctx.lookahead()[0])


def as_picture(y: Inexact[AnyArray, "n *measurement"], shape: tuple[int, ...]) -> Float[np.ndarray, "n H W C"]:
    """Measurements as pictures of the images' size: small ones enlarged, Fourier magnitudes on a logarithmic scale.

    y: (n, h, w, C). shape: (H, W, C).
    """
    frequencies = np.iscomplexobj(y) or y.shape[1] > shape[0]
    shown, (height, width) = np.asarray(np.abs(y) if np.iscomplexobj(y) else y, np.float64), shape[:2]
    if shown.shape[1:] == tuple(shape) and not frequencies:
        return shown
    tall, wide = shown.shape[1:3]
    if frequencies:  # Fourier magnitudes: the constant in the middle, as usual
        shown = np.log10(np.maximum(np.roll(shown, (tall // 2, wide // 2), (1, 2)), 1e-3))
        shown = 2.0 * (shown - shown.min()) / max(float(np.ptp(shown)), 1e-12) - 1.0
    rows, columns = np.arange(height) * tall // height, np.arange(width) * wide // width
    return shown[:, rows][:, :, columns]
