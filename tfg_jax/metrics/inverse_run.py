"""The numbers of a restoration run, computed from plain arrays: they know nothing of the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import AnyArray, mean_ci
from tfg_jax.metrics.posterior import posterior_spread
from tfg_jax.metrics.restoration import feature_distance, psnr, ssim
from tfg_jax.metrics.sampled_run import SampledRun
from tfg_jax.metrics.titles import flat_estimate


@dataclass(frozen=True, kw_only=True)
class InverseRun(SampledRun):
    """What a run of restorations produced: m draws of each of n images; entry i of the draws belongs to image i // m.

    Required: the truth (None if nobody knows it: what compares with it is left out), the measurements as pictures for
    people, each draw's measurement residual (root mean square, in units of y), the noise's standard deviation, a name
    for each image, and as of every `SampledRun`.
    Optional, and left out when None: an evaluator's features of the draws and of the truth, the norm of the residual at
    every step.
    """

    truth: Float[AnyArray, "n H W C"] | None
    pictures: Float[AnyArray, "n H W C"]
    residual: Float[AnyArray, "nm"]
    noise_std: float
    names: Sequence[str]
    features: Float[AnyArray, "nm F"] | None = None
    truth_features: Float[AnyArray, "n F"] | None = None
    path: Float[AnyArray, "nm steps"] | None = None

    noun = "draws"

    @property
    def draws(self) -> int:
        """m, draws of each image."""
        return len(self.x) // len(self.pictures)

    def by_image(self, values: AnyArray) -> np.ndarray:
        """Values of the draws as (n, m, ...), failed ones NaN."""
        values = np.asarray(values, np.float64)
        kept = np.where(self.ok().reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
        return kept.reshape(len(self.pictures), self.draws, *values.shape[1:])


def per_draw(run: InverseRun) -> dict[str, Float[np.ndarray, "nm"]]:
    """Metrics of every draw, NaN where it failed."""
    numbers = {}
    if run.truth is not None:
        truth = np.repeat(np.asarray(run.truth), run.draws, axis=0)
        x = np.where(run.ok()[:, None, None, None], np.asarray(run.x), np.nan)
        numbers = {"psnr": psnr(x, truth), "ssim": ssim(x, truth)}
    numbers["residual"] = np.where(run.ok(), np.asarray(run.residual, np.float64), np.nan)
    if run.features is not None and run.truth_features is not None:
        features = np.repeat(np.asarray(run.truth_features), run.draws, axis=0)
        numbers["feature_distance"] = feature_distance(run.features, features)
        numbers["feature_distance"] = np.where(run.ok(), numbers["feature_distance"], np.nan)
    return numbers


@public
def inverse_metrics(run: InverseRun) -> dict[str, Any]:
    """All numbers of a run under plain names.

    Intervals are over images: a number of an image is the mean over its finished draws, since draws of one image are no
    independent evidence. `*_of_mean` judge the mean of an image's draws. Images without a finished draw are left out
    and counted.
    """
    _check(run)
    ok = run.ok()
    alive = ok.reshape(len(run.pictures), run.draws).any(axis=1)
    numbers = run.numbers() | {
        "images": len(run.pictures), "images_without_samples": int((~alive).sum()), "draws_per_image": run.draws,
        "noise_std": run.noise_std,
    }  # fmt: skip
    if alive.any():
        for name, values in per_draw(run).items():
            numbers |= flat_estimate(name, mean_ci(np.nanmean(run.by_image(values)[alive], axis=1)))
        for end in ("", "_low", "_high"):
            numbers[f"residual_per_noise_std{end}"] = numbers[f"residual{end}"] / run.noise_std
    if alive.any() and run.truth is not None:
        mean, truth = np.nanmean(run.by_image(run.x)[alive], axis=1), np.asarray(run.truth)[alive]
        numbers |= flat_estimate("psnr_of_mean", mean_ci(psnr(mean, truth)))
        numbers |= flat_estimate("ssim_of_mean", mean_ci(ssim(mean, truth)))
    whole = ok.reshape(len(run.pictures), run.draws).all(axis=1)
    if run.draws > 1 and whole.any():
        spread = posterior_spread(run.by_image(run.x)[whole])
        numbers |= flat_estimate("posterior_spread", mean_ci(spread))
    return numbers | run.price()


def _check(run: InverseRun) -> None:
    n = len(run.pictures)
    if not n or len(run.x) % n or not len(run.x):
        raise ValueError(f"x must hold the same number of draws for each of {n} images, got {len(run.x)} draws.")
    truths = n if run.truth is None else len(run.truth)
    if truths != n or len(run.names) != n:
        raise ValueError(f"truth and names must have one entry for each of {n} pictures, got {truths} and "
                         f"{len(run.names)}.")  # fmt: skip
    run.check(residual=run.residual, features=run.features, path=run.path)
