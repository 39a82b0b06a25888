"""Denoising loss of molecules, and batches of one atom count's bucket.

    x_t = alpha x_0 + sigma eps (variance preserving; positions and their noise have zero mean over the atoms)
    loss = mean |F_x - F_x*|^2 + w_h mean |F_h - F_h*|^2 + w_b cross-entropy of bond orders

F = (denoised estimate - skip) / output scale is the unit-variance quantity that the network's last layer predicts
(Karras et al., arXiv 2206.00364), so every noise level counts alike; log(sigma / alpha) is normal, centred where bonds
and elements are decided. The bond orders are those of the clean molecule by EDM's table; their output is used in
training alone, where it teaches the pairs what a bond is.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from tfg_jax.data import qm9
from tfg_jax.data.bonds import bond_orders
from tfg_jax.domains.molecules import centered
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.network import noise_level
from tfg_jax.training.diffusion import stratified_times
from tfg_jax.training.loop import LossFn

TYPE_SCALE, CHARGE_SCALE = 0.25, 0.1
"""Features of an atom are its one-hot element times 0.25 and its atomic number times 0.1 (EDM)."""
BUCKETS = (15, 17, 19, 21, 23, 29)
"""Largest atom counts of the groups that are padded to one shape."""


def features_of(types: Int[Array | np.ndarray, "*b n"]) -> Float[Array, "*b n 6"]:
    """Scaled one-hot element and atomic number of each atom; 0 where `types` is negative."""
    table = np.concatenate([TYPE_SCALE * np.eye(5), CHARGE_SCALE * np.array(qm9.ATOMIC_NUMBERS)[:, None]], 1)
    return jnp.where(types[..., None] < 0, 0.0, jnp.asarray(table, jnp.float32)[jnp.maximum(types, 0)])


def types_of(features: Float[Array, "*b n 6"], mask: Array | np.ndarray) -> Int[Array, "*b n"]:
    """The element whose one-hot channel is largest; -1 where there is no atom."""
    return jnp.where(mask, features[..., :5].argmax(-1), -1)


def molecule_loss(
    apply: Callable[..., tuple[tuple[Array, Array], Array]],
    config: EGNNConfig,
    *,
    centre: float = 0.35,
    spread: float = 1.3,
    feature_weight: float = 0.5,
    bond_weight: float = 0.2,
) -> LossFn:
    """Loss of `apply(params, positions, features, mask, log_snr) -> ((x0, h0), bond logits)`, for `loop.fit`.

    Its batches are `{"positions": (B, N, 3), "types": (B, N)}` as `qm9.padded` gives them.

    Args:
        centre, spread: median of sigma / alpha, and standard deviation of its logarithm.
        feature_weight, bond_weight: weights w_h and w_b, 0 or more.
    """

    def loss_fn(params: PyTree, batch: dict[str, Any], key: PRNGKeyArray) -> tuple[Float[Array, ""], dict[str, Array]]:
        time_key, x_key, h_key = jax.random.split(key, 3)
        x0, types = jnp.asarray(batch["positions"]), jnp.asarray(batch["types"])
        mask, h0 = types >= 0, features_of(types)
        share = stratified_times(time_key, len(x0), 1e-4, 1 - 1e-4)
        log_snr = -2.0 * (jnp.log(centre) + spread * jax.scipy.special.ndtri(share))
        alpha, sigma = noise_level(log_snr)
        x = alpha * x0 + sigma * centered(jax.random.normal(x_key, x0.shape), mask[..., None].astype(x0.dtype))
        h = (alpha * h0 + sigma * jax.random.normal(h_key, h0.shape)) * mask[..., None]
        (x_hat, h_hat), logits = apply(params, x, h, mask, log_snr)

        number = mask.sum(1)

        def error(hat: Array, denoised: Array, scale: float) -> Array:
            weight = (alpha**2 * scale**2 + sigma**2) / (sigma**2 * scale**2)
            return (weight * jnp.square(hat - denoised)).sum((1, 2)) / (denoised.shape[-1] * number)

        error_x = error(x_hat, x0, config.position_scale)
        error_h = error(h_hat, h0, config.feature_scale)
        orders = bond_orders(x0, types)
        pairs = mask[:, :, None] & mask[:, None]
        entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), orders[..., None], -1)[..., 0]
        bonds = jnp.where(pairs, entropy, 0.0).sum((1, 2)) / number  # per atom, as most pairs are not bound
        loss = (error_x + feature_weight * error_h + bond_weight * bonds).mean()
        parts = {f"x{i + 1}": part.mean() for i, part in enumerate(jnp.array_split(error_x, 4)) if part.size}
        return loss, {"x": error_x.mean(), "h": error_h.mean(), "bonds": bonds.mean(), **parts}

    return loss_fn


def property_loss(
    apply: Callable[..., Array], moments: Float[np.ndarray, "2 p"], *, noisy: float = 0.0, spread: float = 1.0
) -> LossFn:
    """Mean absolute error of standardised properties, of `apply(params, positions, features, mask, log_snr) -> (B, P)`.

    Its batches are those of `bucketed` with `"properties": (B, P)`.

    Args:
        moments: mean and scale of each property.
        noisy: share of molecules, in [0, 1], that are shown noisy, for a guide that meets rough estimates.
        spread: standard deviation of log(sigma / alpha) of these, about a median of 0.1.
    """

    def loss_fn(params: PyTree, batch: dict[str, Any], key: PRNGKeyArray) -> tuple[Float[Array, ""], dict[str, Array]]:
        choice_key, time_key, x_key, h_key = jax.random.split(key, 4)
        x, types = jnp.asarray(batch["positions"]), jnp.asarray(batch["types"])
        mask, h, log_snr = types >= 0, features_of(types), jnp.full(len(x), jnp.inf)
        real = mask[..., None].astype(x.dtype)
        if noisy:
            drawn = -2.0 * (jnp.log(0.1) + spread * jax.random.normal(time_key, (len(x),)))
            log_snr = jnp.where(jax.random.uniform(choice_key, (len(x),)) < noisy, drawn, log_snr)
            alpha, sigma = noise_level(log_snr)
            x = alpha * x + sigma * centered(jax.random.normal(x_key, x.shape), real)
            h = (alpha * h + sigma * jax.random.normal(h_key, h.shape)) * real
        target = (jnp.asarray(batch["properties"]) - moments[0]) / moments[1]
        error = jnp.abs(apply(params, x, h, mask, log_snr) - target)
        denoised = jnp.isinf(log_snr)[:, None]
        each = (error * denoised).sum(0) / jnp.maximum(denoised.sum(), 1)
        return error.mean(), {name: each[i] for i, name in enumerate(qm9.PROPERTIES)}

    return loss_fn


def bucketed(
    molecules: qm9.Molecules, indices: Int[np.ndarray, " n"], batch_size: int, seed: int
) -> tuple[Callable[[int], dict[str, np.ndarray]], int]:
    """Batches of molecules of like atom count, as a pure function of the step, and how many an epoch has.

    Every epoch permutes each bucket anew, drops its remainder, and shuffles the batches of all buckets. A batch is
    `{"positions": (B, N, 3), "types": (B, N), "properties": (B, P)}`, properties in the order of `qm9.PROPERTIES`.
    """
    properties = qm9.property_table(molecules)
    counts = molecules.counts[indices]
    bucket = np.searchsorted(BUCKETS, counts)
    groups = [indices[bucket == b] for b in range(len(BUCKETS))]
    per_epoch = sum(len(group) // batch_size for group in groups)
    if not per_epoch:
        raise ValueError(f"batch_size={batch_size} leaves no full batch of {len(indices)} molecules; take less.")

    @lru_cache(maxsize=1)
    def epoch_batches(epoch: int) -> list[tuple[int, np.ndarray]]:
        rng = np.random.default_rng((seed, epoch))
        batches = []
        for size, group in zip(BUCKETS, groups, strict=True):
            order = rng.permutation(group)
            batches += [(size, order[i : i + batch_size]) for i in range(0, len(order) - batch_size + 1, batch_size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def batch(step: int) -> dict[str, np.ndarray]:
        epoch, number = divmod(step, per_epoch)
        size, chosen = epoch_batches(epoch)[number]
        positions, types = qm9.padded(molecules, chosen, size)
        return {"positions": positions, "types": types, "properties": properties[chosen]}

    return batch, per_epoch
