"""The numbers of a label-guidance run, computed from plain arrays: they know nothing of the sampler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tfg_jax.kinds import public
from tfg_jax.metrics.accuracy import accuracy, mean_target_probability, per_class_accuracy
from tfg_jax.metrics.diversity import inception_score
from tfg_jax.metrics.frechet import Moments, frechet_with_ci
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.metrics.patches import beyond_real, patch_distance, unlike_real
from tfg_jax.metrics.texture import high_frequency_ratio
from tfg_jax.metrics.titles import COSTS, flat_estimate
from tfg_jax.result import finished

MOST_REAL, MOST_WORST, PATCH = 100, 10, 5
"""Real images that patches are compared with, samples named as furthest from them, and pixels of a patch's side."""


@dataclass(frozen=True)
class LabelRun:
    """What a run of label guidance produced, n samples of K classes.

    Required: the samples, the requested classes, the evaluator's logits, per-sample status codes (0 ok) and first
    bad steps (-1 none), per-sample counts (`forwards`, `pullbacks`, `objective`), wall-clock seconds, class names.
    Optional, and left out of the report when None: the guide's logits (n, K), the evaluator's features of samples
    (n, F) with those of real images (m, F), or their `Moments`, for the Frechet distance, real images (m, H, W, C) for
    texture and patches, the objective's value at every step (n, steps). `notes` are warnings shown on top of the page.
    """

    x: Float[AnyArray, "n H W C"]
    targets: Int[AnyArray, "n"]
    evaluator_logits: Float[AnyArray, "n K"]
    status_code: Int[AnyArray, "n"]
    status_step: Int[AnyArray, "n"]
    cost: Mapping[str, AnyArray]
    seconds: float
    class_names: Sequence[str]
    guide_logits: Float[AnyArray, "n K"] | None = None
    features: Float[AnyArray, "n F"] | None = None
    reference_features: Float[AnyArray, "m F"] | Moments | None = None
    reference_images: Float[AnyArray, "m H W C"] | None = None
    objective: Float[AnyArray, "n steps"] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def ok(self) -> Bool[np.ndarray, "n"]:
        """Finished, with finite pixels, logits and features: nothing else may enter an average as if it had worked."""
        ok = finished(np.asarray(self.status_code))
        for value in (self.x, self.evaluator_logits, self.features):
            if value is not None:
                ok &= np.isfinite(np.asarray(value).reshape(len(ok), -1)).all(axis=1)
        return ok

    def counted(self, logits: Float[AnyArray, "n K"]) -> Float[np.ndarray, "n K"]:
        """Logits with failed samples made NaN, which every metric counts as a miss."""
        return np.where(self.ok()[:, None], np.asarray(logits, np.float64), np.nan)


@public
def label_metrics(run: LabelRun) -> dict[str, Any]:
    """All numbers of a run under plain names. Failed samples count as misses; distances are over the others."""
    _check(run)
    ok, targets = run.ok(), np.asarray(run.targets)
    n = len(targets)
    logits = run.counted(run.evaluator_logits)
    numbers: dict[str, Any] = {"samples": n, "failed_samples": int((~ok).sum())}
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
        numbers |= flat_estimate(
            "frechet_distance", frechet_with_ci(np.asarray(run.features)[ok], run.reference_features)
        )
        real = run.reference_features
        reference_n = real.n if isinstance(real, Moments) else len(real)
        numbers |= {"frechet_samples_n": int(ok.sum()), "frechet_reference_n": reference_n}
    if run.reference_images is not None and ok.any():
        ratio = high_frequency_ratio(np.asarray(run.x)[ok], run.reference_images)
        numbers |= flat_estimate("high_frequency_ratio", ratio) | _realism(run)
    for key, name in COSTS.items():
        numbers[name] = float(np.mean(run.cost[key]))
    return numbers | {"seconds": float(run.seconds), "images_per_second": n / run.seconds if run.seconds > 0 else None}


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
    distance = patch_distance(np.asarray(run.x)[ok], real, size=PATCH)
    beyond = beyond_real(distance, among_real)
    furthest = np.argsort(-distance, kind="stable")[:MOST_WORST]
    return flat_estimate("unlike_real", unlike_real(distance, among_real)) | {
        "least_like_real": [
            {"sample": int(ok[i]), "patch_distance": float(distance[i]), "beyond_real": float(beyond[i])}
            for i in furthest
        ]
    }


def _check(run: LabelRun) -> None:
    n, classes = len(run.targets), np.asarray(run.evaluator_logits).shape[1]
    per_sample = {k: getattr(run, k) for k in ("x", "evaluator_logits", "status_code", "status_step", "guide_logits")}
    per_sample |= {"features": run.features, "objective": run.objective}
    per_sample |= {f"cost[{key!r}]": value for key, value in run.cost.items()}
    for name, value in per_sample.items():
        if value is not None and len(value) != n:
            raise ValueError(f"{name} must have one entry for each of the {n} targets, got {len(value)}.")
    if len(run.class_names) != classes:
        raise ValueError(f"class_names must name the evaluator's {classes} classes, got {len(run.class_names)} names.")
    if missing := sorted(set(COSTS) - set(run.cost)):
        raise ValueError(f"cost must hold {sorted(COSTS)}, but {missing} is missing; pass an array of counts for each.")
    if (run.features is None) != (run.reference_features is None):
        raise ValueError("features and reference_features must be given together; the Frechet distance needs both.")
