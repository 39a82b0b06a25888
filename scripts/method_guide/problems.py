"""Five problems of the plane whose guided distribution, p(x) exp(f(x)) up to a constant, can be sampled exactly."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from site_pages.notebook import execute

import tfg_jax as tfg
from tfg_jax.analytic import Mixture

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
TILT = (1.0, 0.8)
ROW, MEASURED, NOISE_STD = (0.4, 1.0), 0.9, 0.3


@dataclass(frozen=True)
class Problem:
    """A model, an objective with its target, and samples of both distributions.

    Attributes:
        name, text: what it is called, and what it is.
        model: the unguided model.
        objective, target: of clean samples; the target is that of one sample.
        noisy: the exact log E[exp f(x_0) | x_t], where it is known.
        gap: the same objective as a gap to a wanted value, with its target, for gradient guidance.
        samples: how many of a seed are compared.
        one_sign: whether f keeps its sign, as DPS needs it.
        plain, exact: ``(key, n) -> samples`` of p and of the guided distribution.
    """

    name: str
    text: str
    model: Any
    objective: Any
    target: Any
    plain: Callable[[Array, int], Array]
    exact: Callable[[Array, int], Array]
    noisy: Any = None
    gap: Any = None
    one_sign: bool = True
    data_std: float = 1.0
    samples: int = 512


def linear(x0: Array, target: Array) -> Array:
    """f(x) = b . x."""
    return x0 @ target


def noisy_linear(data: Mixture, x: Array, target: Array, level: tfg.Level) -> Array:
    """log E[exp(b . x_0) | x_t], of a mixture."""
    return jax.nn.logsumexp(_tilted_log_weights(data.given(x, level), target))


def _tilted_log_weights(data: Mixture, b: Array) -> Array:
    return data.log_weights + data.means @ b + 0.5 * jnp.einsum("i,kij,j->k", b, data.covs, b)


def tilted(data: Mixture, b: Float[Array, " D"]) -> Mixture:
    """The mixture with density proportional to p(x) exp(b . x)."""
    weights = jax.nn.softmax(_tilted_log_weights(data, b))
    return tfg.analytic.mixture(weights, data.means + data.covs @ b, data.covs)


def three_modes() -> Mixture:
    """Three correlated modes of unequal weight."""
    covs = [[[0.12, 0.06], [0.06, 0.08]], [[0.05, -0.02], [-0.02, 0.1]], [[0.15, 0.0], [0.0, 0.05]]]
    return tfg.analytic.mixture([0.3, 0.5, 0.2], [[-1.5, 0.5], [0.4, -0.8], [1.6, 1.2]], covs)


def _std(data: Mixture) -> float:
    return float(jnp.sqrt(jnp.trace(data.cov) / 2.0))


def _linear(name: str, text: str, data: Mixture) -> Problem:
    b = jnp.array(TILT)
    return Problem(
        name, text, data.denoiser(tfg.RectifiedFlow(), "velocity"), tfg.objectives.from_fn(_third(linear)), b,
        data.sample, tilted(data, b).sample, tfg.objectives.from_fn(noisy_linear, data, noisy=True), one_sign=False,
        data_std=_std(data), samples=_samples(data),
    )  # fmt: skip


def _samples(data: Mixture) -> int:
    return 1024 if len(data.means) == 1 else 512


def _third(fn: Callable[[Array, Array], Array]) -> Callable[[Any, Array, Array], Array]:
    return lambda params, x0, target: fn(x0, target)


def _measured(name: str, text: str, data: Mixture) -> Problem:
    A, y = jnp.array([ROW]), jnp.array([MEASURED])
    return Problem(
        name, text, data.denoiser(tfg.RectifiedFlow(), "velocity"),
        tfg.objectives.gaussian_log_likelihood(tfg.operators.matrix(A), NOISE_STD), y,
        data.sample, data.posterior(A, y, NOISE_STD).sample, tfg.analytic.conditional_objective(A, NOISE_STD, data),
        gap=(tfg.objectives.linear(), (A[0], y[0])), data_std=_std(data), samples=_samples(data),
    )  # fmt: skip


def _moons() -> Problem:
    """The tutorial's flow and half-plane; the model is what is guided, so p is its own distribution, in 200 steps."""
    notebook = json.loads(TUTORIAL.read_text("utf-8"))
    tutorial = execute(notebook, outputs=False, until=lambda names: "OFFSET" in names)
    model, above, offset = tutorial["model"], tutorial["above"], tutorial["OFFSET"]

    def plain(key: Array, n: int) -> Array:
        return tfg.sample(key, model, num_samples=n, sampler=tfg.DDIM(steps=200)).x

    def exact(key: Array, n: int) -> Array:
        key_x, key_u = jax.random.split(key)
        x = plain(key_x, 4 * n)
        kept = x[jnp.log(jax.random.uniform(key_u, (len(x),))) < jax.vmap(above, (0, None))(x, offset)]
        if len(kept) < n:
            raise RuntimeError(f"{len(kept)} of {len(x)} samples kept, {n} wanted")
        return kept[:n]

    text = "the tutorial's trained flow, f the logarithm of a soft half-plane"
    return Problem("moons", text, model, above, jnp.asarray(offset), plain, exact, data_std=0.8)


def problems() -> dict[str, Callable[[], Problem]]:
    """The problems by name."""
    gaussian = tfg.analytic.gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 0.6]])
    return {
        "Gaussian, linear": lambda: _linear("Gaussian, linear", "one correlated Gaussian, f linear", gaussian),
        "Gaussian, quadratic": lambda: _measured(
            "Gaussian, quadratic", "the same Gaussian, f the log-likelihood of a noisy linear measurement", gaussian
        ),
        "modes, linear": lambda: _linear("modes, linear", "three modes, f linear", three_modes()),
        "modes, quadratic": lambda: _measured(
            "modes, quadratic", "the same modes, f the log-likelihood of a noisy linear measurement", three_modes()
        ),
        "moons": _moons,
    }
