"""Run a one-sample network over many images: one compiled program, the last batch padded to the same shape."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from tfg_jax.batch import bound_programs
from tfg_jax.kinds import public
from tfg_jax.rows import AnyArray


@public
def classify(
    classifier: Callable[[Array], Array], images: Float[AnyArray, "n *shape"], batch: int = 256
) -> Float[np.ndarray, "n K"]:
    """Logits of every image.

    classifier: one image (*shape) to (K,) logits; a pytree (weights stay arguments) or any traceable function.
    images: (n, *shape), as sampled. batch: images per compiled call, >= 1.
    """
    # A plain function is a leaf jit would refuse; Partial makes it static, keyed by the function itself.
    opaque = jax.tree_util.all_leaves([classifier])
    return map_batches(Partial(classifier) if opaque else Partial(_call, classifier), images, batch)


@public
def features(classifier: Any, images: Float[AnyArray, "n *shape"], batch: int = 256) -> Float[np.ndarray, "n F"]:
    """Features of every image from the classifier's `features` method (for Frechet distance and spread).

    classifier: a pytree with `features(x) -> (F,)`. images: (n, *shape). batch: images per compiled call, >= 1.
    Raises ValueError if the classifier has no features.
    """
    if not callable(getattr(classifier, "features", None)):
        raise ValueError(f"classifier {type(classifier).__name__} has no features method; use one that has, such as "
                         "the shipped evaluator.")  # fmt: skip
    return map_batches(Partial(_features, classifier), images, batch)


def map_batches(fn: Callable[[Array], Array], images: Num[AnyArray, "n *shape"], batch: int) -> np.ndarray:
    """Apply a one-sample pytree callable to every image in compiled batches; returns a host array (n, ...)."""
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")
    n = len(images)
    if n == 0:
        raise ValueError(f"images must hold at least one image, got shape {tuple(images.shape)}.")
    outputs = []
    bound_programs(_mapped)
    for start in range(0, n, batch):
        part = jnp.asarray(images[start : start + batch])
        missing = batch - len(part) if n > batch else 0
        # Pad with copies, not zeros: the result is dropped, and real data cannot trip a network's numerics.
        padded = jnp.concatenate([part, jnp.broadcast_to(part[:1], (missing, *part.shape[1:]))]) if missing else part
        outputs.append(np.asarray(_mapped(fn, padded))[: len(part)])
    return np.concatenate(outputs)


@jax.jit
def _mapped(fn: Callable[[Array], Array], images: Array) -> Array:
    return jax.vmap(fn)(images)


def _call(classifier: Callable[[Array], Array], x: Array) -> Array:
    return classifier(x)


def _features(classifier: Any, x: Array) -> Array:
    return classifier.features(x)
