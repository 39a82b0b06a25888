"""The numbers of a label-guidance run, computed from plain arrays: they know nothing of the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.kinds import public
from tfg_jax.metrics.accuracy import accuracy, mean_target_probability, per_class_accuracy
from tfg_jax.metrics.diversity import inception_score
from tfg_jax.metrics.frechet import Moments, frechet_with_ci
from tfg_jax.metrics.patches import beyond_real, patch_distance, unlike_real
from tfg_jax.metrics.sampled_run import SampledRun
from tfg_jax.metrics.texture import high_frequency_ratio
from tfg_jax.metrics.titles import flat_estimate
from tfg_jax.rows import AnyArray, chosen

MOST_REAL, MOST_WORST, PATCH = 100, 10, 5
"""Real images that patches are compared with, samples named as furthest from them, and pixels of a patch's side."""


@dataclass(frozen=True, kw_only=True)
class LabelRun(SampledRun):
    """What a run of label guidance produced, n samples of K classes.

    Required: the requested classes, the evaluator's logits, class names, and as of every `SampledRun`.
    Optional, and left out of the report when None: the guide's logits (n, K), the evaluator's features of samples
    (n, F) with those of real images (m, F), or their `Moments`, for the Frechet distance, real images (m, H, W, C) for
    texture and patches, the objective's value at every step (n, steps).
    """

    targets: Int[AnyArray, "n"]
    evaluator_logits: Float[AnyArray, "n K"]
    class_names: Sequence[str]
    guide_logits: Float[AnyArray, "n K"] | None = None
    features: Float[AnyArray, "n F"] | None = None
    reference_features: Float[AnyArray, "m F"] | Moments | None = None
    reference_images: Float[AnyArray, "m H W C"] | None = None
    objective: Float[AnyArray, "n steps"] | None = None

    def scored(self) -> list[AnyArray]:
        """Pixels, logits and features."""
        return [self.x, self.evaluator_logits, *([] if self.features is None else [self.features])]

    def counted(self, logits: Float[AnyArray, "n K"]) -> Float[np.ndarray, "n K"]:
        """Logits with failed samples made NaN, which every metric counts as a miss."""
        return np.where(self.ok()[:, None], np.asarray(logits, np.float64), np.nan)


@public
def label_metrics(run: LabelRun) -> dict[str, Any]:
    """All numbers of a run under plain names. Failed samples count as misses; distances are over the others."""
    _check(run)
    ok, targets = run.ok(), np.asarray(run.targets)
    logits = run.counted(run.evaluator_logits)
    numbers = run.numbers()
    numbers |= flat_estimate("evaluator_accuracy", accuracy(logits, targets))
    numbers["evaluator_accuracy_by_class"] = {
        run.class_names[c]: e.value for c, e in per_class_accuracy(logits, targets).items()
    }
    numbers |= flat_estimate("evaluator_target_probability", mean_target_probability(logits, targets))
    if run.guide_logits is not None:
        guide = run.counted(run.guide_logits)
        numbers |= flat_estimate("guide_accuracy", accuracy(guide, targets))
        numbers |= flat_estimate("guide_target_probability", mean_target_probability(guide, targets))
    if ok.any():
        numbers |= flat_estimate("inception_score", inception_score(np.asarray(run.evaluator_logits)[ok]))
    if run.features is not None and run.reference_features is not None and ok.sum() > 1:
        numbers |= flat_estimate("frechet_distance", frechet_with_ci(chosen(run.features, ok), run.reference_features))
        real = run.reference_features
        reference_n = real.n if isinstance(real, Moments) else len(real)
        numbers |= {"frechet_samples_n": int(ok.sum()), "frechet_reference_n": reference_n}
    if run.reference_images is not None and ok.any():
        ratio = high_frequency_ratio(chosen(run.x, ok), run.reference_images)
        numbers |= flat_estimate("high_frequency_ratio", ratio) | _realism(run)
    rate = len(targets) / run.seconds if run.seconds > 0 else None
    return numbers | run.price() | {"images_per_second": rate}


@lru_cache(maxsize=1)  # the same for every run that is compared with these images
def _among_real(pixels: bytes, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return patch_distance(np.frombuffer(pixels, dtype).reshape(shape), size=PATCH)


def _realism(run: LabelRun) -> dict[str, Any]:
    """How many finished samples are further from real images than 95 % of these are, and which are furthest."""
    real, ok = np.asarray(run.reference_images), np.flatnonzero(run.ok())
    real = real[:: -(-len(real) // MOST_REAL)]
    if len(real) < 2 or min(real.shape[1:3]) < PATCH:
        return {}
    among_real = _among_real(real.tobytes(), real.shape, real.dtype.str)
    distance = patch_distance(chosen(run.x, ok), real, size=PATCH)
    beyond = beyond_real(distance, among_real)
    furthest = np.argsort(-distance, kind="stable")[:MOST_WORST]
    return flat_estimate("unlike_real", unlike_real(distance, among_real)) | {
        "least_like_real": [
            {"sample": int(ok[i]), "patch_distance": float(distance[i]), "beyond_real": float(beyond[i])}
            for i in furthest
        ]
    }


def _check(run: LabelRun) -> None:
    classes = np.asarray(run.evaluator_logits).shape[1]
    run.check(
        targets=run.targets, evaluator_logits=run.evaluator_logits, guide_logits=run.guide_logits,
        features=run.features, objective=run.objective,
    )  # fmt: skip
    if len(run.class_names) != classes:
        raise ValueError(f"class_names must name the evaluator's {classes} classes, got {len(run.class_names)} names.")
    if (run.features is None) != (run.reference_features is None):
        raise ValueError("features and reference_features must be given together; the Frechet distance needs both.")
