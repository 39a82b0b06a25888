"""A small trained score network in place of the exact one: how G and G_loss part, and what fine-tuning adds.

The network is an MLP, not the paper's 1-D U-Net: 64 numbers without neighbourhood, noise level as 32 Fourier features,
`blocks` residual blocks of `width` with layer normalization; it predicts eps - sigma x.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import tfg_jax as tfg
from gradient_guidance.settings import Options
from tfg_jax.training.loop import fit, shuffled


def init(key: jax.Array, dim: int, width: int, blocks: int) -> dict[str, Any]:
    """Weights of the network."""
    keys = iter(jax.random.split(key, 2 * blocks + 3))
    dense = lambda fan, out: jax.random.normal(next(keys), (out, fan)) / np.sqrt(fan)  # noqa: E731
    return {
        "in": dense(dim, width), "time": dense(32, width),
        "blocks": [
            {"first": dense(width, width), "second": 0.1 * dense(width, width), "shift": jnp.zeros(width)}
            for _ in range(blocks)
        ],
        "out": 0.1 * dense(width, dim),
    }  # fmt: skip


def network(params: dict[str, Any], x: jax.Array, log_snr: jax.Array, cond: None) -> jax.Array:
    """eps of one sample."""
    angle = log_snr * jnp.exp(jnp.linspace(-3.0, 1.0, 16))
    time = params["time"] @ jnp.concatenate([jnp.sin(angle), jnp.cos(angle)])
    h = params["in"] @ x
    for block in params["blocks"]:
        normed = (h - h.mean()) * jax.lax.rsqrt(h.var() + 1e-5)
        h = h + block["second"] @ jax.nn.silu(block["first"] @ normed + time + block["shift"])
    return jnp.sqrt(jax.nn.sigmoid(-log_snr)) * x + params["out"] @ h


def log_snr_time(schedule: Any, t: jax.Array) -> jax.Array:
    """The network reads the log-SNR."""
    return schedule.level(t).log_snr


def train(options: Options, name: str, data: np.ndarray, seed: int) -> tuple[tfg.Denoiser, dict[str, float]]:
    """The network of the learning rate with the lowest held-out error, and the errors of all. Resumable."""
    schedule = tfg.from_alphas_cumprod(tfg.cosine_table(options.steps))
    unseen = jnp.asarray(data[: max(len(data) // 32, 8)], jnp.float32)
    seen = data[len(unseen) :].astype(np.float32)
    start = init(jax.random.key(seed), data.shape[1], options.width, options.blocks)
    make = lambda params: tfg.from_fn(  # noqa: E731
        network, params, schedule, prediction="eps", shape=(data.shape[1],), network_time=log_snr_time
    )

    def error(params: Any, points: jax.Array, key: jax.Array) -> jax.Array:
        times, noise = jax.random.split(key)
        t = (jax.random.randint(times, (len(points),), 0, options.steps) + 1) / options.steps
        eps = jax.random.normal(noise, points.shape)
        level = schedule.level(t[:, None])
        x = level.alpha * points + level.sigma * eps
        return jnp.mean((jax.vmap(make(params))(x, t).eps - eps) ** 2)

    errors, trained = {}, {}
    steps = max(options.epochs * len(seen) // options.train_batch, 1)
    config = {name: getattr(options, name) for name in ("data", "epochs", "train_batch", "width", "blocks", "steps")}
    for rate in options.rates:
        index = shuffled(len(seen), options.train_batch, seed)
        state = fit(
            lambda params, batch, key: (error(params, batch, key), {}), start,
            optax.adam(optax.cosine_decay_schedule(rate, steps), 0.9, 0.99),
            lambda step, index=index: seen[index(step)],
            steps=steps, folder=options.folder / "network" / f"score-{name}-{rate}", key=jax.random.key(seed),
            config=config | {"rate": rate}, log_every=max(steps // 10, 1),
        )  # fmt: skip
        trained[rate] = state.ema
        errors[str(rate)] = float(np.mean([error(state.ema, unseen, jax.random.key(i)) for i in range(10)]))
    best = min(trained, key=lambda rate: errors[str(rate)])
    return make(trained[best]), errors | {"chosen": best, "steps": float(steps)}
