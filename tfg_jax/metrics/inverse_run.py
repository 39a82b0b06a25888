"""The numbers of a restoration run, computed from plain arrays: they know nothing of the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import mean_ci
from tfg_jax.metrics.restoration import feature_distance, psnr, ssim
from tfg_jax.metrics.sampled_run import SampledRun
from tfg_jax.metrics.titles import flat_estimate
from tfg_jax.rows import AnyArray, blocks, chosen


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
        """Numbers of the draws as (n, m), failed ones NaN."""
        kept = np.where(self.ok(), np.asarray(values, np.float64), np.nan)
        return kept.reshape(len(self.pictures), self.draws)

    def mean_and_spread(self, image: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every pixel over an image's finished draws, NaN without enough of them."""
        mine = np.arange(image * self.draws, (image + 1) * self.draws)
        draws = chosen(self.x, mine[self.ok()[mine]])
        count, mean, scatter = 0, np.zeros(self.x.shape[1:]), np.zeros(self.x.shape[1:])
        for x in (np.asarray(draws[part], np.float64) for part in blocks(draws) if len(draws)):
            own, total = x.mean(axis=0), count + len(x)
            scatter += ((x - own) ** 2).sum(axis=0) + (own - mean) ** 2 * (count * len(x) / total)
            mean, count = mean + (own - mean) * (len(x) / total), total
        nothing = np.full_like(mean, np.nan)
        return mean if count else nothing, np.sqrt(scatter / (count - 1)) if count > 1 else nothing

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """As `per_draw`."""
        parts = [self._compared(part) for part in blocks(self.x)]
        residual = np.where(self.ok(), np.asarray(self.residual, np.float64), np.nan)
        return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]} | {"residual": residual}

    def _compared(self, part: slice) -> dict[str, np.ndarray]:
        """Distances from the truth, where it is known, of some draws."""
        image, ok, numbers = np.arange(len(self.x))[part] // self.draws, self.ok()[part], {}
        if self.truth is not None:
            x, truth = np.where(ok[:, None, None, None], self.x[part], np.nan), np.asarray(self.truth)[image]
            numbers = {"psnr": psnr(x, truth), "ssim": ssim(x, truth)}
        if self.features is not None and self.truth_features is not None:
            distance = feature_distance(self.features[part], np.asarray(self.truth_features)[image])
            numbers["feature_distance"] = np.where(ok, distance, np.nan)
        return numbers


def per_draw(run: InverseRun) -> dict[str, Float[np.ndarray, "nm"]]:
    """Metrics of every draw, NaN where it failed."""
    return dict(run.values)


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
    whole = np.asarray(ok.reshape(len(run.pictures), run.draws).all(axis=1))
    spread: list[float] = []
    near: dict[str, list[float]] = {"psnr_of_mean": [], "ssim_of_mean": []}
    for i in np.flatnonzero(alive).tolist():
        mean, deviation = run.mean_and_spread(i)
        if run.truth is not None:
            truth = np.asarray(run.truth[i])[None]
            near["psnr_of_mean"].append(float(psnr(mean[None], truth)[0]))
            near["ssim_of_mean"].append(float(ssim(mean[None], truth)[0]))
        if run.draws > 1 and whole[i]:
            spread.append(float(np.sqrt((deviation**2).mean())))
    for name, values in {**near, "posterior_spread": spread}.items():
        numbers |= flat_estimate(name, mean_ci(np.array(values))) if values else {}
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
