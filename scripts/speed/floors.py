"""What a run cannot do without, written by hand: one jitted scan over a batch, the network called with its own batch
axis, and the sampler's arithmetic and noise beside it. Nothing of the library but the bare networks and the numbers of
the levels and strengths."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

import tfg_jax as tfg
from tfg_jax.guidance.strengths import spread, step_alpha
from tfg_jax.models.pack import pack, unpack


def steps_of(model: Any, sampler: Any) -> dict[str, Array]:
    """The numbers of every step: levels, DDIM's at eta = 1 and TFG's strengths, computed beforehand."""
    levels = model.schedule.level(tfg.sampling_times(model, sampler))
    t, alpha, sigma = (np.asarray(each) for each in (levels.t, levels.alpha, levels.sigma))
    ratio = alpha[:-1] / alpha[1:]
    fresh = np.maximum(sigma[:-1] ** 2 - ratio**2 * sigma[1:] ** 2, 0.0)
    std = sigma[1:] / sigma[:-1] * np.sqrt(fresh)
    numbers = {
        "t": t[:-1], "alpha": alpha[:-1], "sigma": sigma[:-1], "t_next": t[1:], "alpha_next": alpha[1:],
        "sigma_next": sigma[1:], "std": std, "along": np.sqrt(np.maximum(sigma[1:] ** 2 - std**2, 0.0)),
        "rho": spread(1.0, "increase", levels) / jnp.sqrt(step_alpha(levels)), "mu": spread(0.25, "increase", levels),
    }  # fmt: skip
    return {"index": jnp.arange(len(t) - 1)} | {name: jnp.asarray(each, jnp.float32) for name, each in numbers.items()}


def floor(model: Any, classifier: Any, batch: int, sampler: Any, kind: str) -> Callable[[Array, Array], Array]:
    """A run of DDIM ("unguided"), "heun", "dps" or "tfg" (4 gradients) of the shipped networks: (key, target) -> x."""
    at, shape = steps_of(model, sampler), (batch, *model.shape)
    graph, k, guide = model.apply.graphdef, model.apply.pack, classifier.apply.graphdef

    def network(weights: Any, x: Array, t: Array) -> Array:
        null = jnp.full((batch,), model.null_cond, jnp.int32)
        return unpack(nnx.merge(graph, weights)(pack(x, k), jnp.broadcast_to(1000.0 * t, (batch,)), null), k)

    @jax.jit
    def program(key: Array, target: Array, weights: Any, guide_weights: Any) -> Array:
        def value_and_gradient(x0: Array) -> tuple[Array, Array]:
            def value(x0: Array) -> Array:
                logits = nnx.merge(guide, guide_weights)(x0)
                return jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], 1)[:, 0]

            values, pull = jax.vjp(value, x0)
            return values, pull(jnp.ones_like(values))[0]

        def stochastic(x0: Array, eps: Array, c: dict) -> Array:
            z = jax.random.normal(jax.random.fold_in(key, c["index"]), shape)
            return c["alpha_next"] * x0 + c["along"] * eps + c["std"] * z

        def unguided(x: Array, c: dict) -> tuple[Array, None]:
            v = network(weights, x, c["t"])
            return stochastic(c["alpha"] * x - c["sigma"] * v, c["sigma"] * x + c["alpha"] * v, c), None

        def heun(x: Array, c: dict) -> tuple[Array, None]:
            v = network(weights, x, c["t"])
            x0, eps = c["alpha"] * x - c["sigma"] * v, c["sigma"] * x + c["alpha"] * v
            first = c["alpha_next"] * x0 + c["sigma_next"] * eps

            def second() -> Array:
                v = network(weights, first, c["t_next"])
                change = c["sigma_next"] * first + c["alpha_next"] * v - eps
                return first + (c["sigma_next"] - c["alpha_next"] * c["sigma"] / c["alpha"]) * 0.5 * change

            return jax.lax.cond(c["sigma_next"] > 0, second, lambda: first), None

        def guided(x: Array, c: dict) -> tuple[Array, None]:
            def estimate(x: Array) -> tuple[Array, Array]:
                v = network(weights, x, c["t"])
                return c["alpha"] * x - c["sigma"] * v, v

            x0, pull, v = jax.vjp(estimate, x, has_aux=True)
            values, gradient = value_and_gradient(x0)
            moved = stochastic(x0, c["sigma"] * x + c["alpha"] * v, c)
            if kind == "dps":
                scale = jnp.sqrt(jnp.maximum(jnp.abs(values), 1e-6))[:, None, None, None]
                return moved + pull(gradient)[0] / scale, None
            delta = jax.lax.fori_loop(
                0, 3, lambda _, d: d + c["mu"] * value_and_gradient(x0 + d)[1], c["mu"] * gradient
            )
            return moved + c["rho"] * pull(gradient)[0] + c["alpha_next"] * delta, None

        body = {"unguided": unguided, "heun": heun}.get(kind, guided)
        x = jax.random.normal(jax.random.fold_in(key, sampler.steps), shape)
        return jax.lax.scan(body, x, at)[0]

    return lambda key, target: program(key, target, model.params, classifier.params)
