"""Did the sample reach the requested class, according to a network that did not guide it?

A sample whose logits are not finite counts as a miss with probability 0: failures are part of a method's score.
"""

import hashlib
import warnings
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate, mean_ci, wilson
from tfg_jax.rows import AnyArray


@public
def correct(logits: Float[AnyArray, "n K"], targets: Int[AnyArray, "n"]) -> Bool[np.ndarray, "n"]:
    """Per sample: is the requested class the most likely one? False where a logit is not finite.

    logits: (n, K). targets: (n,) class indices in [0, K). Raises ValueError if they do not fit each other.
    """
    logits, targets = _checked(logits, targets)
    return np.isfinite(logits).all(axis=1) & (logits.argmax(axis=1) == targets)


@public
def target_probability(logits: Float[AnyArray, "n K"], targets: Int[AnyArray, "n"]) -> Float[np.ndarray, "n"]:
    """Per sample: softmax probability of the requested class, in [0, 1]; 0 where a logit is not finite."""
    logits, targets = _checked(logits, targets)
    return probabilities(logits)[np.arange(len(targets)), targets]


@public
def probabilities(logits: Float[AnyArray, "n K"]) -> Float[np.ndarray, "n K"]:
    """Softmax in float64, (n, K); a row with a non-finite logit is all 0."""
    logits = np.asarray(logits, np.float64)
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    logits = np.where(finite, logits, 0.0)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.where(finite, weights / weights.sum(axis=1, keepdims=True), 0.0)


@public
def accuracy(logits: Float[AnyArray, "n K"], targets: Int[AnyArray, "n"], level: float = 0.95) -> Estimate:
    """Share of samples classified as requested, with its Wilson interval; see `correct`."""
    hits = correct(logits, targets)
    return wilson(int(hits.sum()), len(hits), level)


@public
def per_class_accuracy(
    logits: Float[AnyArray, "n K"], targets: Int[AnyArray, "n"], level: float = 0.95
) -> dict[int, Estimate]:
    """Accuracy of every requested class, keyed by class index in increasing order; see `correct`."""
    hits, targets = correct(logits, targets), np.asarray(targets)
    return {int(c): wilson(int(hits[targets == c].sum()), int((targets == c).sum()), level) for c in np.unique(targets)}


@public
def mean_target_probability(
    logits: Float[AnyArray, "n K"], targets: Int[AnyArray, "n"], level: float = 0.95
) -> Estimate:
    """Mean probability of the requested class, with its t interval cut to [0, 1]; see `target_probability`."""
    mean = mean_ci(target_probability(logits, targets), level)
    return replace(mean, low=max(0.0, mean.low), high=min(1.0, mean.high))


@public
def check_independent(guide: Any, evaluator: Any) -> bool:
    """Warn (UserWarning) if samples would be scored with the network that guided them; True if the two differ.

    Guidance climbs the guide's own mistakes too, so the guide's accuracy says little about the samples. Two networks
    are the same if they are one object, share a `name`, or hold identical weights under whatever name.
    """
    names = _given_name(guide), _given_name(evaluator)
    weights = _fingerprint(guide), _fingerprint(evaluator)
    same_name, same_weights = bool(names[0]) and names[0] == names[1], bool(weights[0]) and weights[0] == weights[1]
    if guide is not evaluator and not same_name and not same_weights:
        return True
    reason = f"both are called {names[0]!r}" if same_name else "their weights are identical"
    warnings.warn(
        f"The evaluator is the network that guides ({reason}), so its accuracy measures how well it was fooled; "
        "score with a classifier trained separately.",
        UserWarning,
        stacklevel=2,
    )
    return False


def _given_name(network: Any) -> str | None:
    """The network's own name; a name that its class gives to every instance identifies nothing."""
    name = getattr(network, "name", None)
    return name if name and name != getattr(type(network), "name", None) else None


def _fingerprint(network: Any) -> list[str]:
    """Sorted hashes of the weights, so that renaming or rearranging a network does not hide it."""
    leaves = [
        np.asarray(leaf) for leaf in jax.tree.leaves(getattr(network, "params", network)) if hasattr(leaf, "dtype")
    ]
    return sorted(hashlib.sha256(f"{leaf.shape}".encode() + leaf.tobytes()).hexdigest() for leaf in leaves)


def _checked(logits: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(f"targets must hold one class for each row of logits, got {targets.shape} and {logits.shape}.")
    if not np.issubdtype(targets.dtype, np.integer) or (
        targets.size and not 0 <= targets.min() <= targets.max() < logits.shape[1]
    ):
        raise ValueError(f"targets must be integers in [0, {logits.shape[1]}), got {targets.dtype} {targets}.")
    return logits, targets
