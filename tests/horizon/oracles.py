"""Data whose lookahead is known exactly, and lookaheads seen in straight-line coordinates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from tfg_jax.lookahead import Conditioned

LAM = 0.7  # variance of the scalar Gaussian of the tables
FLOW = tfg.RectifiedFlow()


def gradient_factor(s, lam=LAM):
    """``v = a(s) xbar`` of a centred Gaussian of variance lam."""
    return (s * lam - (1 - s)) / (s**2 * lam + (1 - s) ** 2)


def share(s, lam):
    """rho of the closed forms: the squared ratio of the greedy gradient to the whole one."""
    return s**2 * lam / (s**2 * lam + (1 - s) ** 2)


def whole_gradient(s, lam):
    """The gradient of the flow map to data with respect to xbar."""
    return np.sqrt(lam / (s**2 * lam + (1 - s) ** 2))


def _linear(lam, x, t, cond):
    return -gradient_factor(1.0 - t, lam) * x


def centred(lam):
    """Independent centred Gaussians on the straight path, cheap to compile: one variance a coordinate."""
    lam = jnp.atleast_1d(jnp.asarray(np.array(lam)))
    return tfg.from_fn(_linear, lam, FLOW, prediction="velocity", shape=lam.shape)


def modes(schedule=FLOW, prediction: Any = "velocity"):
    """The ideal network of the golden mixture: three modes on a line."""
    return golden().denoiser(schedule, prediction)


def golden():
    return tfg.analytic.mixture([0.3, 0.5, 0.2], [[-1.5], [0.4], [2.0]], [[[0.0625]], [[0.01]], [[0.16]]])


def level_at(schedule, s):
    """The level with straight-line time s."""
    return schedule.level(schedule.t_of_s(s))


@jax.jit
def lookahead_at(model, lookahead, s, xbar):
    """Estimate and derivative with respect to xbar, coordinate by coordinate, at straight-line time s."""
    level = level_at(model.schedule, s)
    scale = (level.alpha + level.sigma).astype(xbar.dtype)
    evaluation = lookahead(Conditioned(model), scale * xbar, level)
    return evaluation.x0, scale * evaluation.pullback(jnp.ones_like(xbar)), evaluation.denoised


lookaheads = jax.jit(jax.vmap(lookahead_at, (None, 0, None, None)))
"""`lookahead_at` of lookaheads stacked on their horizon."""
