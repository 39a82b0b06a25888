"""How near is a restored image to the truth, and to its measurement? Per-sample values; average them with `mean_ci`.

Images are in [-1, 1], so their range is 2. A sample with a non-finite pixel gets NaN: leave it out and count it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Inexact

from tfg_jax.kinds import public
from tfg_jax.metrics.batching import map_batches
from tfg_jax.rows import AnyArray

RANGE = 2.0
MOST_DB = 100.0
WINDOW, WINDOW_STD = 11, 1.5


@public
def psnr(x: Float[AnyArray, "n *shape"], truth: Float[AnyArray, "..."]) -> Float[np.ndarray, "n"]:
    """Peak signal-to-noise ratio in dB, ``10 log10(4 / mean squared error)``, at most 100 (a perfect copy).

    x, truth: (n, ...), image by image. Raises ValueError if their shapes differ.
    """
    x, truth = _pair(x, truth)
    error = ((x - truth) ** 2).reshape(len(x), -1).mean(axis=1)
    return np.minimum(10.0 * np.log10(RANGE**2 / np.maximum(error, 1e-30)), MOST_DB)


@public
def ssim(x: Float[AnyArray, "n *shape"], truth: Float[AnyArray, "..."]) -> Float[np.ndarray, "n"]:
    """Structural similarity, at most 1 (a perfect copy); the mean over windows and channels.

        (2 m_x m_y + c1) (2 c_xy + c2) / ((m_x^2 + m_y^2 + c1) (v_x + v_y + c2)),     c1 = (0.01 L)^2, c2 = (0.03 L)^2

    Means, variances and covariance under a Gaussian window of 11 x 11 pixels and standard deviation 1.5 that lies
    wholly inside the image, range L = 2. On a side shorter than 11 the window is the largest odd one that fits.

    x, truth: (n, H, W, C). Raises ValueError if their shapes differ. Source: Wang et al., IEEE TIP 13(4), 2004.
    """
    x, truth = _pair(x, truth)
    if x.ndim != 4:
        raise ValueError(f"x must be images (n, H, W, C), got shape {x.shape}.")
    rows, columns = (_windows(size) for size in x.shape[1:3])

    def mean(values: np.ndarray) -> np.ndarray:
        return np.einsum("ij,njkc,lk->nilc", rows, values, columns, optimize=True)

    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    mean_x, mean_y = mean(x), mean(truth)
    var_x, var_y, cov = mean(x * x) - mean_x**2, mean(truth * truth) - mean_y**2, mean(x * truth) - mean_x * mean_y
    top = (2.0 * mean_x * mean_y + c1) * (2.0 * cov + c2)
    return (top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean(axis=(1, 2, 3))


@public
def measurement_residual(
    operator: Callable[[Array], Array], x: Float[AnyArray, "n *shape"], y: Inexact[AnyArray, "..."]
) -> Float[np.ndarray, "n"]:
    """Root mean square of ``y - A(x)`` over what is measured, in units of y: the noise's standard deviation is right.

    Less says that noise was copied into the image, more that the measurement was not met. Hidden entries of a
    mask do not count; real and imaginary part of a complex measurement count as two.

    operator: ``x0 -> y`` of one sample, shared by all. x: (n, ...). y: (n, ...), one measurement a sample.
    """
    if len(x) != len(y):
        raise ValueError(f"x and y must have one measurement a sample, got {len(x)} and {len(y)}.")
    opaque = jax.tree_util.all_leaves([operator])
    measured = map_batches(Partial(operator) if opaque else Partial(_call, operator), x, 256)
    if measured.shape != y.shape:
        raise ValueError(f"y must have shape {measured.shape}, what the operator gives, got {y.shape}.")
    off = np.asarray(y, np.result_type(y.dtype, np.float64)) - measured
    squared = (np.real(off) ** 2 + np.imag(off) ** 2) / 2.0 if np.iscomplexobj(off) else off**2
    seen = np.broadcast_to(np.asarray(getattr(operator, "observed", 1.0), np.float64), squared.shape[1:])
    return np.sqrt((squared * seen).reshape(len(x), -1).sum(axis=1) / seen.sum())


@public
def feature_distance(
    features: Float[AnyArray, "n F"], truth_features: Float[AnyArray, "n F"]
) -> Float[np.ndarray, "n"]:
    """Perceptual distance: Euclidean distance between an evaluator's features of an image and of the truth.

    In units of these features: comparable for one evaluator only, and no LPIPS (see `lpips`).

    features, truth_features: (n, F), from `tfg_jax.metrics.features`. Raises ValueError if their shapes differ.
    """
    features, truth_features = _pair(features, truth_features)
    return np.linalg.norm(features - truth_features, axis=1)


@public
def lpips(
    layers: Callable[[Array], Sequence[Array]],
    weights: Sequence[Float[AnyArray, " channels"]],
    x: Float[AnyArray, "n H W C"],
    truth: Float[AnyArray, "n H W C"],
) -> Float[np.ndarray, "n"]:
    """Learned perceptual distance (LPIPS, Zhang et al., arXiv 1801.03924) with a network and weights that you give.

        sum over layers of  mean over pixels of  sum_c w_c (u_c(x) - u_c(truth))^2,      u = activations / their norm

    Args:
        layers: one image (H, W, C) to its activations, one (h, w, c) a layer; a pytree or a function.
        weights: one non-negative vector (c,) a layer.
        x, truth: (n, H, W, C) in [-1, 1].

    Raises:
        ValueError: images of different shapes, or weights that do not fit the layers.
    """
    _pair(x, truth)
    shapes = [layer.shape for layer in jax.eval_shape(layers, jax.ShapeDtypeStruct(x.shape[1:], jnp.float32))]
    given = [np.shape(each) for each in weights]
    if given != [shape[-1:] for shape in shapes]:
        raise ValueError(f"weights must have one vector a layer, of sizes {[s[-1] for s in shapes]}, got {given}.")
    network = Partial(layers) if jax.tree_util.all_leaves([layers]) else layers
    pairs = np.stack([np.asarray(x, np.float32), np.asarray(truth, np.float32)], axis=1)
    return map_batches(Partial(_lpips, network, [jnp.asarray(each) for each in weights]), pairs, 64)


def _lpips(layers: Any, weights: list[Array], pair: Array) -> Array:
    total = jnp.zeros(())
    for ours, truth, weight in zip(layers(pair[0]), layers(pair[1]), weights, strict=True):
        ours, truth = (a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-10) for a in (ours, truth))
        total = total + jnp.mean(jnp.sum(weight * (ours - truth) ** 2, axis=-1))
    return total


def _call(operator: Any, x: Array) -> Array:
    return operator(x)


def _windows(size: int) -> np.ndarray:
    """One row for each position of the window along a side: (positions, size)."""
    width = min(WINDOW, size if size % 2 else size - 1)
    weights = np.exp(-0.5 * ((np.arange(width) - width // 2) / WINDOW_STD) ** 2)
    rows = np.zeros((size - width + 1, size))
    for start in range(len(rows)):
        rows[start, start : start + width] = weights / weights.sum()
    return rows


def _pair(x: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    x, truth = np.asarray(x, np.float64), np.asarray(truth, np.float64)
    if x.shape != truth.shape:
        raise ValueError(f"x and truth must have one shape, got {x.shape} and {truth.shape}; repeat the truth.")
    # An infinite pixel would make a perfectly finite 0 dB out of a failure.
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    return np.where(finite.reshape(-1, *[1] * (x.ndim - 1)), x, np.nan), truth
