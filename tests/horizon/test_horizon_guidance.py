"""What guidance sees through a lookahead: pullback policies, learned maps, exact conditional flows, the diagnosis."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import FLOW, centred, golden, level_at, lookahead_at, lookaheads, modes, whole_gradient

import tfg_jax as tfg
from tfg_jax.checks import safe_norm
from tfg_jax.guidance.base import smoothed
from tfg_jax.lookahead import Conditioned

S = 0.3
LAMS = np.array([0.4, 1.3, 2.2])


def test_pullback_policies(x64):
    """One estimate, three Jacobians: the whole lookahead's, the denoiser's at (x, t), and none (g == c exactly)."""
    x = jnp.asarray(np.array([0.4, -1.0, 0.3]))
    policies: Any = ("full", "denoiser", "identity")
    full, denoiser, identity = (
        lookahead_at(centred(LAMS), tfg.TruncatedSolve(0.6, 64, jacobian=jacobian), S, x)  # type: ignore[arg-type]
        for jacobian in policies
    )
    greedy = lookahead_at(centred(LAMS), tfg.Tweedie(), S, x)
    np.testing.assert_allclose(denoiser[0], full[0], rtol=1e-14)
    np.testing.assert_allclose(identity[0], full[0], rtol=1e-14)
    np.testing.assert_allclose(denoiser[1], greedy[1], rtol=1e-14)
    np.testing.assert_array_equal(identity[1], 1.0)  # alpha + sigma = 1 on this path
    assert np.all(full[1] > greedy[1])


def test_a_step_along_the_gradient_moves_the_end_of_the_flow(x64):
    """d/d eta Phi(x - eta g_h) = -J_Phi J_h^T grad L: a linear loss falls at every horizon for Gaussian data."""
    x, c = jnp.asarray(np.array([0.4, -1.0, 0.3])), np.array([1.0, -2.0, 0.5])
    solve = jax.vmap(lambda h: tfg.TruncatedSolve(h, 64))(jnp.asarray(np.array([0.0, 0.5, 1.0])))
    _, gradients, _ = lookaheads(centred(LAMS), solve, S, x)
    flow = lambda x: whole_gradient(S, LAMS) * np.asarray(x)  # noqa: E731
    for gradient in np.asarray(gradients):
        moved = (flow(x - 1e-6 * gradient * c) - flow(x + 1e-6 * gradient * c)) / 2e-6
        np.testing.assert_allclose(moved, -whole_gradient(S, LAMS) * gradient * c, rtol=1e-6)
        assert c @ moved < 0


def test_norms_and_smoothing_keep_their_gradients(x64):
    """grad ||r|| = grad(||r||^2 / 2) / ||r||, 0 at 0; the log-mean-exp has no 1/K too many, and radius 0 is plug-in."""
    r = jnp.asarray(np.array([0.3, -1.2]))
    np.testing.assert_allclose(jax.grad(safe_norm)(r), r / jnp.linalg.norm(r), rtol=1e-14)
    np.testing.assert_array_equal(jax.grad(safe_norm)(jnp.zeros_like(r)), 0.0)
    f = lambda x: -jnp.sum((x - 1.0) ** 2)  # noqa: E731
    deltas = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2)))
    gradient = lambda deltas: jax.grad(smoothed(f, deltas))(r)  # noqa: E731
    np.testing.assert_allclose(gradient(jnp.concatenate([deltas, deltas])), gradient(deltas), rtol=1e-12)
    np.testing.assert_allclose(gradient(0.0 * deltas), jax.grad(f)(r), rtol=1e-12)


def test_the_exact_conditional_score_solves_the_linear_gaussian_problem(x64):
    """v + ((1 - s)/s) g carries N(0, I) to the posterior; from the columns of an affine map, from s = 0 on."""
    data = tfg.analytic.gaussian([0.5, -0.3, 0.2], [[0.6, 0.2, 0.0], [0.2, 0.9, -0.1], [0.0, -0.1, 0.4]])
    A, y, noise_std = jnp.array([[1.0, -0.5, 0.2], [0.0, 0.7, 1.0]]), jnp.array([0.8, -0.4]), 0.3
    posterior = data.posterior(A, y, noise_std)
    objective = tfg.analytic.conditional_objective(A, noise_std, data)

    @jax.jit
    def fields(x, s):
        level = level_at(FLOW, s)
        denoised, exact = data.denoised(x, level), posterior.denoised(x, level)
        gradient = jax.grad(objective)(x, y, level)
        return denoised.x0 - denoised.eps + (1 - s) / s * gradient, exact.x0 - exact.eps

    for s in (0.05, 0.4, 0.9):
        guided, exact = fields(jnp.array([0.3, 0.1, -0.5]), s)
        np.testing.assert_allclose(guided, exact, rtol=1e-9)
    whole = tfg.TruncatedSolve.whole(256, tfg.ode.RK4, margin=1e-12)
    model = Conditioned(posterior.denoiser(FLOW, "velocity"))
    solve = jax.jit(jax.vmap(lambda x: whole.estimate(model, x, FLOW.level(1.0))[0]))
    images = np.asarray(solve(jnp.concatenate([jnp.zeros((1, 3)), jnp.eye(3)])))
    matrix = (images[1:] - images[0]).T
    np.testing.assert_allclose(images[0], posterior.mean, atol=1e-8)
    np.testing.assert_allclose(matrix @ matrix.T, posterior.cov, rtol=1e-6, atol=1e-8)


def toward(params, x, level, cond):
    return params * x + level.sigma


def test_learned_flow_maps():
    """The sampler keeps the denoiser's own output; the objective sees the map, and gradients go through it."""
    model, x = Conditioned(modes()), jnp.array([0.4])
    evaluation = tfg.FlowMap(toward, 0.3)(model, x, FLOW.level(0.5))
    np.testing.assert_allclose(evaluation.x0, 0.3 * x + 0.5)
    np.testing.assert_allclose(evaluation.pullback(jnp.array([2.0])), 0.6)
    np.testing.assert_array_equal(evaluation.denoised.x0, model(x, FLOW.level(0.5).t).x0)


def test_a_horizon_that_reaches_to_a_fixed_level():
    for s, horizon in ((0.3, 5 / 7), (0.79, 0.01 / 0.21), (0.8, 0.0), (0.95, 0.0), (1.0, 0.0)):
        np.testing.assert_allclose(tfg.Reach(0.8)(jnp.asarray(s)), horizon, atol=1e-6)
    fixed, moving = tfg.TruncatedSolve(0.5, 2), tfg.TruncatedSolve(tfg.Reach(0.65), 2)
    values = (lookahead_at(modes(), solve, S, jnp.array([-0.35]))[:2] for solve in (fixed, moving))
    for a, b in zip(*values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def bent(scale, x, t, cond):
    return jnp.tanh(scale * x)


def test_weights_are_reached_only_when_asked_for():
    """A pullback gives the sample's gradient alone; asked for, the weights' own is right through every backend."""
    x, level = jnp.array([0.4]), tfg.VPLinear().level(0.6)

    def value(scale, solver, adjoint):
        model = tfg.from_fn(bent, scale, tfg.VPLinear(), prediction="x0", shape=(1,))
        return tfg.TruncatedSolve(0.5, 8, solver, adjoint).estimate(Conditioned(model), x, level)[0][0]

    scan = jax.jit(jax.grad(lambda scale: value(scale, "midpoint", None)))(1.2)
    back = jax.jit(jax.grad(lambda scale: value(scale, diffrax.Midpoint(), diffrax.BacksolveAdjoint())))(1.2)
    assert abs(scan) > 1e-2
    np.testing.assert_allclose(back, scan, rtol=2e-2)


def rightmost(x0, y):
    return y * x0[0]


def test_the_diagnosis_shows_the_spike_where_the_mode_is_decided(x64):
    """At the golden point the gradient's norm rises tenfold between horizons 0 and 0.6 and comes down again."""
    x, t = jnp.asarray(np.array([[-0.35], [1.4]])), FLOW.t_of_s(S)
    horizons = (0.0, 0.25, 0.5, 0.6, 0.9, 1.0)
    solve = tfg.TruncatedSolve(steps=256)
    curve = tfg.diagnose_horizon(modes(), x, t, rightmost, jnp.ones(2), horizons, lookahead=solve, chunk=1)
    table = [0.8146481055, 1.7556352622, 7.2021181864, 10.5290781182, 1.3838200685, 1.7319889426]
    scale = np.sqrt(S**2 + (1 - S) ** 2)
    np.testing.assert_allclose(curve.norm[0] / scale, table, rtol=1e-3)
    np.testing.assert_allclose(curve.x0[0, 0], -0.1672114157, rtol=1e-9)
    np.testing.assert_allclose(curve.value, curve.x0[..., 0], rtol=1e-12)
    np.testing.assert_allclose(curve.cosine, 1.0, rtol=1e-9)  # one dimension, monotone flow
    np.testing.assert_allclose(curve.distance[:, -1], 0.0, atol=1e-12)
    assert np.all(np.diff(curve.distance[0, 3:]) < 0)
    np.testing.assert_array_equal(curve.cost.forwards, 7 * 513)
    assert golden().means.shape == (3, 1)


def test_the_diagnosis_can_be_taken_forward(x64):
    given = (centred(LAMS), jnp.asarray(np.array([[0.4, -1.0, 0.3]])), FLOW.t_of_s(S), total, None, (0.0, 0.5))
    back = tfg.diagnose_horizon(*given, lookahead=tfg.TruncatedSolve(steps=4, solver="heun"))
    ahead = tfg.TruncatedSolve(steps=4, solver=diffrax.Heun(), adjoint=diffrax.ForwardMode())
    forward = tfg.diagnose_horizon(*given, lookahead=ahead)
    for name in ("x0", "value", "norm", "cosine", "distance"):
        np.testing.assert_allclose(getattr(forward, name), getattr(back, name), rtol=1e-11, atol=1e-12)
    assert np.all(back.cosine > 0) and back.cosine[0, 0] < back.cosine[0, 1] < 1.0


def total(x0, y):
    return jnp.sum(jnp.sin(x0))


def test_what_a_diagnosis_refuses():
    x = jnp.zeros((2, 1))
    for changes, message in (
        ({"horizons": (0.0, 1.5)}, "horizons=.* must be a finite number >= 0 and <= 1"),
        ({"horizons": 0.5}, r"horizons has shape \(\)"),
        ({"lookahead": tfg.TruncatedSolve.whole(2)}, "has no horizon to vary"),
        ({"x": jnp.zeros((2, 3))}, "start x_t has shape"),
        ({"t": 1.5}, "start t=1.5 must be"),
        ({"target": jnp.ones(3)}, "target has a leaf of shape"),
    ):
        given = {"x": x, "t": 0.5, "objective": rightmost, "target": jnp.ones(2), **changes}
        with pytest.raises(ValueError, match=message):
            tfg.diagnose_horizon(modes(), given.pop("x"), given.pop("t"), **given)
