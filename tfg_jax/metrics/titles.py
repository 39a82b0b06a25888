"""Metrics by the names they have in metrics.json: how people are shown each, and estimates read back from there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        title: in full. short: as the header of a narrow column; default the title.
        unit: shown in brackets after either.
        better: which values are better; "" if neither, as of costs and of ratios that should be near 1.
        digits: format of the value of a single sample.
    """

    title: str
    short: str = ""
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    digits: str = ".4g"

    def header(self, short: bool = False) -> str:
        """Title and unit, as `PSNR (dB)`."""
        return (self.short or self.title if short else self.title) + (f" ({self.unit})" if self.unit else "")

    @property
    def axis(self) -> str:
        """The header, which also says so where less is better: what people take for granted is more."""
        return self.header() + (" (lower is better)" if self.better == "lower" else "")


METRICS: dict[str, Metric] = {
    "evaluator_accuracy": Metric("evaluator accuracy", better="higher"),
    "evaluator_target_probability": Metric("evaluator's probability of the request", "evaluator", "", "higher", ".3f"),
    "unlike_real": Metric("unlike 95 % of real images", "unlike 95 % of real", better="lower"),
    "guide_accuracy": Metric("guide accuracy", better="higher"),
    "guide_target_probability": Metric("guide's probability of the request", "guide", "", "higher", ".3f"),
    "frechet_distance": Metric("Fréchet distance", better="lower"),
    "inception_score": Metric("inception score", better="higher"),
    "precision": Metric("precision", better="higher"),
    "recall": Metric("recall", better="higher"),
    "high_frequency_ratio": Metric("high-frequency power / real"),
    "psnr": Metric("PSNR", unit="dB", better="higher", digits=".1f"),
    "ssim": Metric("SSIM", better="higher", digits=".3f"),
    "psnr_of_mean": Metric("PSNR of the mean", unit="dB", better="higher", digits=".1f"),
    "ssim_of_mean": Metric("SSIM of the mean", better="higher", digits=".3f"),
    "residual_per_noise_std": Metric("residual / noise", digits=".2f"),
    "feature_distance": Metric("feature distance", better="lower"),
    "posterior_spread": Metric("spread of the draws"),
    "network_forwards_per_sample": Metric("network forwards per sample", "forwards"),
    "network_pullbacks_per_sample": Metric("network pullbacks per sample", "pullbacks"),
    "objective_gradients_per_sample": Metric("objective gradients per sample", "objective gradients"),
    "seconds": Metric("seconds", digits=".1f"),
    "images_per_second": Metric("images per second"),
    "molecules_per_second": Metric("molecules per second"),
    "failed_samples": Metric("failed"),
    "atom_stability": Metric("stable atoms", better="higher"),
    "molecule_stability": Metric("stable molecules", better="higher"),
    "validity": Metric("valid molecules", better="higher"),
    "uniqueness": Metric("unique of the valid", better="higher"),
    "novelty": Metric("new of the unique", better="higher"),
    "attribute_accuracy": Metric("share of the attributes right", better="higher"),
    "all_attributes": Metric("all attributes right", better="higher"),
    "style_distance": Metric("distance from the style", better="lower"),
    "lpips": Metric("LPIPS", better="lower"),
    "dtw": Metric("DTW of MFCCs", better="lower"),
    "quantum_failed": Metric("failed by the quantum program", better="lower"),
}
_UNITS = {"mu": "D", "alpha": "bohr^3", "homo": "meV", "lumo": "meV", "gap": "meV", "cv": "cal/(mol K)"}
_SPEAKERS = {"error": "evaluator", "guide_error": "guide", "quantum_error": "quantum program"}
METRICS |= {
    f"{key}_{name}": Metric(f"{speaker}'s error of {name}", f"{name}, {speaker}", unit, "lower")
    for key, speaker in _SPEAKERS.items()
    for name, unit in _UNITS.items()
}
LABEL = (
    "evaluator_accuracy", "evaluator_target_probability", "unlike_real", "guide_accuracy", "frechet_distance",
    "inception_score", "high_frequency_ratio",
)  # fmt: skip
INVERSE = (
    "psnr", "ssim", "psnr_of_mean", "ssim_of_mean", "residual_per_noise_std", "feature_distance", "posterior_spread",
)  # fmt: skip
MOLECULES = (
    *(f"{key}_{name}" for name in _UNITS for key in _SPEAKERS), "atom_stability", "molecule_stability", "validity",
    "uniqueness", "novelty", "quantum_failed",
)  # fmt: skip
"""The metrics of each task in the order of its reports."""
COSTS = {
    "forwards": "network_forwards_per_sample",
    "pullbacks": "network_pullbacks_per_sample",
    "objective": "objective_gradients_per_sample",
}
"""What sampling cost, by the names of a result's counts."""


@public
def estimate(numbers: Mapping[str, Any], key: str) -> Estimate:
    """A metric with its interval, from the flat names of metrics.json; restorations have theirs over images."""
    n = numbers["images"] - numbers["images_without_samples"] if "images" in numbers else numbers["samples"]
    return Estimate.of([numbers[key], numbers[f"{key}_low"], numbers[f"{key}_high"]], n)


@public
def flat_estimate(name: str, estimate: Estimate) -> dict[str, float]:
    """A metric and its interval under flat names, for metrics.json."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


@public
def titled(numbers: Mapping[str, Any], keys: Collection[str], *, short: bool = False) -> dict[str, Any]:
    """The metrics that are among the numbers, by title and in the keys' order; with their intervals where they have
    one. short: by the headers of narrow columns."""
    return {
        METRICS[key].header(short=True) if short else METRICS[key].axis: (
            estimate(numbers, key) if f"{key}_low" in numbers else numbers[key]
        )
        for key in keys
        if key in numbers
    }
