"""A problem in closed form for the contract tests: Gaussian-mixture data, its ideal networks, objectives, every method.

Everything a jitted function holds static (networks, classifiers) is defined once here, so tests share compilations.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from tfg_jax.denoiser import unit_time

D = 3
MEANS = np.array([[1.0, 0.2, -0.5], [-0.6, 0.8, 0.3], [0.1, -1.1, 0.7]])
WEIGHTS = np.array([0.5, 0.3, 0.2])
WIDTH = 0.4
SIGMA_DATA = 0.5


def _fresh(constant):
    """The array in the precision that is on; JAX caches a NumPy constant by its identity across precisions."""
    return jnp.asarray(np.array(constant))


def responsibilities(x, alpha, sigma):
    """log p(component, x_t) up to a constant."""
    means, weights = _fresh(MEANS), _fresh(WEIGHTS)
    return jnp.log(weights) - jnp.sum((x - alpha * means) ** 2, axis=-1) / (2.0 * (alpha**2 * WIDTH**2 + sigma**2))


def component_mean(x, alpha, sigma):
    """E[x0 | x_t, component], (K, D)."""
    means = _fresh(MEANS)
    return means + alpha * WIDTH**2 / (alpha**2 * WIDTH**2 + sigma**2) * (x - alpha * means)


def posterior_mean(x, alpha, sigma):
    """E[x0 | x_t] of the mixture."""
    return jax.nn.softmax(responsibilities(x, alpha, sigma)) @ component_mean(x, alpha, sigma)


def raw_outputs(x0, eps, schedule, t, x_scaled):
    """What ideal networks of every prediction type return for E[x0 | x_t] and E[eps | x_t]; functions of nothing."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)

    def edm():
        # Karras et al. in y = x / alpha, tau = sigma / alpha; the network's input is y / sqrt(tau^2 + sigma_data^2).
        tau = sigma / alpha
        total = jnp.sqrt(tau**2 + SIGMA_DATA**2)
        return (x0 - SIGMA_DATA**2 / total**2 * (total * x_scaled)) * total / (tau * SIGMA_DATA)

    return {
        "eps": lambda: eps,
        "x0": lambda: x0,
        "score": lambda: -eps / sigma,
        "v": lambda: (alpha * eps - sigma * x0) / jnp.sqrt(alpha**2 + sigma**2),
        "velocity": lambda: jax.grad(schedule.alpha)(t) * x0 + jax.grad(schedule.sigma)(t) * eps,
        "edm": edm,
    }


PREDICTIONS = ("eps", "x0", "score", "v", "velocity", "edm")


def eps_network(schedule, x, t, cond):
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return (x - alpha * posterior_mean(x, alpha, sigma)) / sigma


def schedules():
    """One schedule of each kind, built in the precision that is on."""
    return {
        "vp_linear": tfg.VPLinear(),
        "vp_cosine": tfg.VPCosine(),
        "ve": tfg.VE(sigma_min=0.02, sigma_max=30.0),
        "edm": tfg.EDM(),
        "flow": tfg.RectifiedFlow(),
        "discrete": tfg.from_alphas_cumprod(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))),
    }


SCHEDULES = ("vp_linear", "vp_cosine", "ve", "edm", "flow", "discrete")


def denoiser(schedule):
    """The ideal denoiser of the mixture, as an eps network."""
    return tfg.from_fn(eps_network, schedule, schedule, prediction="eps", shape=(D,), network_time=unit_time)


W = np.array([[1.0, -0.5, 0.3], [0.2, 0.9, -0.4], [-0.7, 0.1, 0.8]])
A = np.array([[0.8, -0.3, 0.5], [0.1, 0.9, 0.4]])


def _logits(params, x):
    return params @ jnp.tanh(x)


def _noisy_logits(params, x, log_snr):
    return (params @ jnp.tanh(x)) * jax.nn.sigmoid(0.5 * log_snr)


def _measure(x):
    return _fresh(A) @ x


MEASURE = jax.tree_util.Partial(_measure)


def class_objective():
    return tfg.objectives.class_log_prob(tfg.objectives.Classifier(_fresh(W), _logits, num_classes=3))


def noisy_objective():
    return tfg.objectives.noisy_class_log_prob(tfg.objectives.NoisyClassifier(_fresh(W), _noisy_logits, num_classes=3))


def residual_objective():
    return tfg.objectives.residual_norm(MEASURE)


def gaussian_objective():
    return tfg.objectives.gaussian_log_likelihood(tfg.operators.matrix(A), 0.4)


LABELS = np.array([0, 2])
MEASUREMENTS = np.array([[0.9, 0.1], [-0.2, -0.8]])

# name -> (strength -> guidance, objective, target of two samples). Strength 0 is no guidance.
METHODS = {
    "tfg": (lambda s: tfg.TFG(rho=s, mu=0.5 * s, n_iter=2), class_objective, LABELS),
    "tfg_smoothed": (
        lambda s: tfg.TFG(rho=s, mu=0.5 * s, n_iter=2, smoothing=0.3, n_mc=2, n_recur=2, mu_structure="decrease"),
        class_objective, LABELS,
    ),
    "dps": (lambda s: tfg.DPS(strength=s), class_objective, LABELS),
    "dps_residual": (lambda s: tfg.DPS(strength=s, normalize="residual"), residual_objective, MEASUREMENTS),
    "pigdm": (lambda s: tfg.PiGDM(strength=s), gaussian_objective, MEASUREMENTS),
    "lgd": (lambda s: tfg.LGD(strength=s, n_mc=2), class_objective, LABELS),
    "freedom": (lambda s: tfg.FreeDoM(strength=s, n_recur=2), class_objective, LABELS),
    "mpgd": (lambda s: tfg.MPGD(strength=s), class_objective, LABELS),
    "ugd": (lambda s: tfg.UGD(strength=s, n_iter=3, n_recur=2), class_objective, LABELS),
    "inner": (lambda s: tfg.InnerSteps(strength=s, n_inner=2), class_objective, LABELS),
    "classifier": (lambda s: tfg.ClassifierGuidance(strength=s), noisy_objective, LABELS),
}  # fmt: skip

SAMPLERS = {
    "ddim": lambda steps, grid=None: tfg.DDIM(steps=steps, eta=0.7, grid=grid),
    "ddpm": lambda steps, grid=None: tfg.DDPM(steps=steps, v=0.4, grid=grid),
    "euler": lambda steps, grid=None: tfg.Euler(steps=steps, grid=grid),
    "churn": lambda steps, grid=None: tfg.Euler(steps=steps, grid=grid, churn=tfg.Churn(amount=1.0)),
    "heun": lambda steps, grid=None: tfg.Heun(steps=steps, grid=grid),
    "dpmpp2m": lambda steps, grid=None: tfg.DPMSolverPP2M(steps=steps, grid=grid),
}


def arguments(method: str | int, strength: Any = 1.0) -> dict[str, Any]:
    """Guidance, objective and target of two samples; a number is unguided with so many recurrences."""
    if isinstance(method, int):
        return {"guidance": tfg.Unguided(n_recur=method)}
    guidance, objective, target = METHODS[method]
    return {"guidance": guidance(strength), "objective": objective(), "target": _fresh(target)}


def tape(steps, n_recur=1, n_mc=2, n=2):
    """Recorded draws of ``n`` samples in place of keys: less to compile."""
    normal = np.random.default_rng(5).standard_normal
    draws = {name: jnp.asarray(normal((n, steps, n_recur, D))) for name in ("step", "renoise", "churn")}
    return tfg.NoiseTape(jnp.asarray(normal((n, D))), mc=jnp.asarray(normal((n, steps, n_recur, n_mc, D))), **draws)
