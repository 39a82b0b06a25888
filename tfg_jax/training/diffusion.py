"""Denoising loss for class-conditional diffusion and flow models.

    x_t = alpha(t) x_0 + sigma(t) eps,    loss = mean_b w(t_b) mean_pixels |network(x_t, t, label) - target|^2

The target is what the prediction type names; in VP coordinates a = alpha / scale, s = sigma / scale,
scale = sqrt(alpha^2 + sigma^2), "v" is a eps - s x_0 (Salimans & Ho, arXiv 2202.00512). With a teacher that knows the
labels, the target where the label is dropped is teacher(x_t, t, label): its mean given x_t is the same as the target's,
E[E[target | x_t, label] | x_t] = E[target | x_t], as far as the teacher is right, and its variance is only the label's.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from tfg_jax.checks import check_count, check_number
from tfg_jax.declare import check_single_numbers
from tfg_jax.denoiser import path_velocity, thousand_time
from tfg_jax.kinds import public
from tfg_jax.schedules import Level, Schedule
from tfg_jax.timesteps import CosineLogSNR
from tfg_jax.training.loop import LossFn

TARGETS: dict[str, Callable[[Level, Array, Array], Array]] = {
    "eps": lambda level, x0, eps: eps,
    "x0": lambda level, x0, eps: x0,
    "v": lambda level, x0, eps: (level.alpha * eps - level.sigma * x0) / level.scale,
}
"""Regression targets by prediction type, besides "velocity", which also needs the gradients of the path."""


@public
def diffusion_loss(
    apply: Callable[[PyTree, Array, Array, Array], Array],
    schedule: Schedule,
    prediction: str,
    *,
    num_classes: int,
    network_time: Callable[[Schedule, Array], Array] = thousand_time,
    p_uncond: float = 0.15,
    flip_classes: tuple[int, ...] = (),
    t_min: float | None = None,
    time_distribution: CosineLogSNR | None = None,
    weighting: Callable[[Level], Array] | None = None,
    teacher: Callable[[Array, Array, Array], Array] | None = None,
) -> LossFn:
    """Loss of a batched network, for `loop.fit`; its batches are `{"image": (B, H, W, C), "label": (B,)}`.

    Args:
        apply: `apply(params, x (B, H, W, C), t_network (B,), label (B,)) -> (B, H, W, C)`.
        schedule: path from data to noise.
        prediction: "v", "eps", "x0", or "velocity" (dx/dt = alpha' x_0 + sigma' eps).
        network_time: `(schedule, t) -> t_network`, as in `Denoiser`.
        num_classes: labels are 0 .. num_classes - 1; `num_classes` itself is the null class.
        p_uncond: probability in [0, 1] that a label is replaced by the null class (classifier-free training).
        flip_classes: classes whose images are mirrored left-right with probability 1/2.
        t_min: times are uniform in [t_min, schedule.t_start]; default 1e-4.
        time_distribution: draws the times by log-SNR instead, as Ho & Salimans (arXiv 2207.12598).
        weighting: loss weight per time, a function of `Level`; None is 1.
        teacher: `teacher(x, t_network, label) -> (B, H, W, C)`, a trained network of the same schedule, prediction and
            time, gives the targets where labels are dropped; one forward more a batch. None: the data gives them.

    Returns: `loss_fn(params, batch, key) -> (loss, metrics)`; the metrics are the loss by quarters of the time axis.

    Raises ValueError on an unknown prediction or values out of range.
    """
    check_count("num_classes", num_classes)
    check_number("t_min", t_min, low=0.0, high=1.0, strict=True)
    if prediction not in (*TARGETS, "velocity"):
        raise ValueError(f"prediction={prediction!r} has no training target: use {', '.join(TARGETS)} or velocity")
    check_single_numbers(schedule)
    check_single_numbers(time_distribution)
    if not 0.0 <= p_uncond <= 1.0:
        raise ValueError(f"p_uncond={p_uncond} is a probability: give a value in [0, 1]")
    if time_distribution is not None and t_min is not None:
        raise ValueError(
            f"t_min={t_min} has no effect with a time_distribution; set the distribution's log_snr_max or drop t_min"
        )
    if teacher is not None and p_uncond == 0.0:
        raise ValueError("teacher has no effect with p_uncond=0: give a share of labels to drop, or drop the teacher")
    if any(not 0 <= c < num_classes for c in flip_classes):
        raise ValueError(f"flip_classes={flip_classes} must lie in 0 .. {num_classes - 1}")

    def loss_fn(params: PyTree, batch: dict[str, Any], key: PRNGKeyArray) -> tuple[Float[Array, ""], dict[str, Array]]:
        time_key, noise_key, drop_key, flip_key = jax.random.split(key, 4)
        x0, label = jnp.asarray(batch["image"]), jnp.asarray(batch["label"])
        if flip_classes:
            x0 = random_flip(flip_key, x0, jnp.isin(label, jnp.array(flip_classes)))
        if time_distribution is None:
            t = stratified_times(time_key, len(x0), 1e-4 if t_min is None else t_min, float(schedule.t_start))
        else:
            t = time_distribution.times(schedule, stratified_times(time_key, len(x0), 0.0, 1.0))
        t = t.astype(x0.dtype)
        eps = jax.random.normal(noise_key, x0.shape, x0.dtype)
        level = schedule.level(t[:, None, None, None])
        dropped = jax.random.bernoulli(drop_key, p_uncond, label.shape)
        x, t_network = level.alpha * x0 + level.sigma * eps, network_time(schedule, t)
        raw = apply(params, x, t_network, jnp.where(dropped, num_classes, label))
        if prediction == "velocity":
            d_alpha, d_sigma = path_velocity(schedule, level.t)
            target = d_alpha * x0 + d_sigma * eps
        else:
            target = TARGETS[prediction](level, x0, eps)
        if teacher is not None:
            target = jnp.where(dropped[:, None, None, None], teacher(x, t_network, label), target)
        error = jnp.square(raw - target)
        per_sample = error.astype(jnp.promote_types(error.dtype, jnp.float32)).mean(axis=(1, 2, 3))
        if weighting is not None:
            per_sample *= weighting(schedule.level(t))
        return per_sample.mean(), _by_time(t, per_sample)

    return loss_fn


@public
def stratified_times(key: PRNGKeyArray, count: int, t_min: float, t_max: float) -> Float[Array, " count"]:
    """`count` times, one uniform draw in each of `count` equal parts of [t_min, t_max], ascending.

    A random member is uniform while the batch covers the whole axis, which lowers the variance of the loss (Kingma et
    al., arXiv 2107.00630). Batches are shuffled, so the order carries no information.
    """
    check_count("count", count)
    check_number("t_min", t_min, low=0.0)
    check_number("t_max", t_max, low=0.0)
    share = (jnp.arange(count) + jax.random.uniform(key, (count,))) / count
    return t_min + share * (t_max - t_min)


@public
def random_flip(
    key: PRNGKeyArray, images: Float[Array, "B H W C"], allowed: Bool[Array, " B"]
) -> Float[Array, "B H W C"]:
    """Mirror each image left-right with probability 1/2 where `allowed` is true."""
    flip = jax.random.bernoulli(key, 0.5, (len(images),)) & allowed
    return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)


def _by_time(t: Array, per_sample: Array, parts: int = 4) -> dict[str, Array]:
    quarters = jnp.array_split(per_sample, parts)  # times are ascending
    return {f"loss_t{i + 1}": quarter.mean() for i, quarter in enumerate(quarters) if quarter.size}
