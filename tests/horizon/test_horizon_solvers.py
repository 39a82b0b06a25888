"""Solvers, adjoints and memory policies: one discrete gradient however it is computed, finite from noise to data."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import FLOW, LAM, centred, gradient_factor, lookahead_at, lookaheads, modes, whole_gradient

import tfg_jax as tfg
from tfg_jax import ode
from tfg_jax.lookahead import Conditioned
from tfg_jax.ode import SOLVERS, Tableau

S = 0.3
LAMS = np.array([0.4, 1.3, 2.2])


def curved(params, x, t, cond):
    return jnp.tanh(3.0 * x - t) - x


CURVED = tfg.from_fn(curved, None, tfg.VPLinear(), prediction="x0", shape=(1,))


def own(solver):
    """The tableau of a diffrax solver, for a scan."""
    known = solver.tableau
    rows = tuple(tuple(map(float, row)) for row in known.a_lower)
    return Tableau(rows, tuple(map(float, known.b_sol)), tuple(map(float, known.c)))


BOSH3 = own(diffrax.Bosh3())
DIRECT = diffrax.DirectAdjoint()
SAME = {  # a scan: the options that must give its very gradient, and those of diffrax that must
    "heun": (("heun", None, "step"), (diffrax.Heun(), None), (diffrax.Heun(), DIRECT)),
    "bosh3": ((BOSH3, None, "step"), (diffrax.Bosh3(), None)),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_scan_and_diffrax_give_one_gradient(name, x64):
    """Under every memory policy, and every adjoint that differentiates the discrete solve backwards."""
    x, (scan, *theirs) = jnp.array([-0.35]), SAME[name]
    value, gradient, _ = lookahead_at(CURVED, tfg.TruncatedSolve(0.7, 4, scan[0]), S, x)
    for options in (scan, *theirs):
        again = lookahead_at(CURVED, tfg.TruncatedSolve(0.7, 4, *options), S, x)  # type: ignore[arg-type]
        np.testing.assert_allclose(again[0], value, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(again[1], gradient, rtol=1e-12, atol=1e-13)


def test_the_continuous_adjoint_is_another_quadrature(x64):
    """Backsolve with Euler evaluates the gradient at right ends; with a high order it comes to the same gradient."""
    x, backsolve = jnp.array([0.4]), diffrax.BacksolveAdjoint()
    s, h = S + (1 - S) / 13 * np.arange(14), (1 - S) / 13
    euler = tfg.TruncatedSolve.whole(13, diffrax.Euler(), adjoint=backsolve, margin=1e-12)
    gradient = lookahead_at(centred(LAM), euler, S, x)[1][0]
    np.testing.assert_allclose(gradient, np.prod(1 + h * gradient_factor(s[1:])), rtol=1e-10)
    np.testing.assert_allclose(gradient, 1.173725309191, rtol=1e-10)
    fine = tfg.TruncatedSolve(1.0, 64, diffrax.Tsit5(), adjoint=backsolve)
    np.testing.assert_allclose(lookahead_at(modes(), fine, S, jnp.array([-0.35]))[1][0], 1.7319889426, rtol=1e-4)


ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "ralston": 2, "bosh3": 3, "rk4": 4, "tsit5": 5}


@pytest.mark.parametrize("name", ORDERS)
def test_gradients_converge_at_the_solvers_order(name, x64):
    """Globally in the number of steps; locally, for one whole step of length 1 - s, one order higher at least."""
    solver = {"bosh3": BOSH3, "rk4": ode.RK4, "tsit5": own(diffrax.Tsit5())}.get(name, name)
    x, order, errors = jnp.asarray(np.ones(3)), ORDERS[name], []
    for n in (8, 16) if name == "tsit5" else (32, 64):
        gradient = lookahead_at(centred(LAMS), tfg.TruncatedSolve.whole(n, solver, margin=1e-12), S, x)[1]
        errors.append(np.linalg.norm(gradient - whole_gradient(S, LAMS)))
    assert np.log2(errors[0] / errors[1]) > order - 0.2
    local = []
    for gap in (0.1, 0.05, 0.025):
        one = tfg.TruncatedSolve.whole(1, solver, margin=1e-12)
        gradient = lookahead_at(centred(LAMS), one, 1 - gap, x)[1]
        local.append(np.linalg.norm(gradient - whole_gradient(1 - gap, LAMS)))
    assert np.all(np.log2(np.divide(local[:-1], local[1:])) > order + 0.9)


DIFFRAX = {"bosh3": diffrax.Bosh3(), "dopri5": diffrax.Dopri5()}


@pytest.mark.parametrize(
    ("solver", "wide"),
    [(name, wide) for name in SOLVERS for wide in (False, True)] + [("bosh3", False), ("dopri5", True)],
)
def test_every_solver_is_finite_from_noise_to_data(solver, wide):
    """Value and gradient at horizons 0 and 1, from s = 0 on, in single and double precision."""
    with jax.enable_x64(wide):
        dtype = jnp.float64 if wide else jnp.float32
        x = jnp.asarray([0.4, -1.0, 0.3], dtype)
        solve = jax.vmap(lambda h: tfg.TruncatedSolve(h, 8, DIFFRAX.get(solver, solver)))(
            jnp.asarray([0.0, 1.0], dtype)
        )
        model, at = centred(LAMS), jax.vmap(lookaheads, (None, None, 0, None))
        values, gradients, denoised = at(model, solve, jnp.asarray([0.0, 1e-4, S, 0.9995, 1 - 1e-7], dtype), x)
        assert values.dtype == gradients.dtype == dtype
        assert np.isfinite(values).all() and np.isfinite(gradients).all()
        np.testing.assert_array_equal(values[:, 0], denoised.x0[:, 0])
        np.testing.assert_allclose(gradients[2, 1], whole_gradient(S, LAMS), rtol=0.12 if solver == "euler" else 1e-2)


@pytest.mark.parametrize(("solver", "bound"), list(zip(SOLVERS, (3.2e-2, 1e-6, 8.5e-5, 2.9e-5), strict=True)))
def test_a_fixed_grid_is_right_where_the_flow_stands_still(solver, bound, x64):
    """At the mean of the data an adaptive solver sees nothing to resolve; the gradient needs its steps all the same."""
    whole = tfg.TruncatedSolve.whole(64, solver, margin=1e-9)
    value, gradient, _ = lookahead_at(centred(LAMS), whole, 0.0, jnp.asarray(np.zeros(3)))
    np.testing.assert_array_equal(value, 0.0)
    off = np.abs(gradient - whole_gradient(0.0, LAMS)).max()
    assert bound / 3 < off < 1.2 * bound


def test_an_adaptive_solver_steps_over_the_gradient_there(x64):
    """A tolerance of 1e-10 is met in a few steps, the value is exact, and the gradient is wrong by almost 1 %."""

    def solve(y):
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda s, y, args: gradient_factor(s, LAMS) * y),  # pyright: ignore[reportArgumentType]
            diffrax.Tsit5(), 0.0, 1.0, None, y, adjoint=diffrax.ForwardMode(),
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-10),
        )  # fmt: skip
        return found.ys[0], found.stats["num_steps"]  # type: ignore[index]

    y = jnp.asarray(np.zeros(3))
    value, gradient, steps = jax.jit(lambda y: jax.jvp(solve, (y,), (jnp.ones_like(y),), has_aux=True))(y)
    np.testing.assert_array_equal(value, 0.0)
    assert steps < 6
    assert 1e-3 < np.abs(gradient - whole_gradient(0.0, LAMS)).max() < 1e-1


def test_gradients_in_horizon_and_time_are_finite_and_right(x64):
    """At the ends too; inside they are the central differences."""

    def value(h, t):
        x = jnp.asarray(np.array([-0.4]))
        return tfg.TruncatedSolve(h, 3, "heun").estimate(Conditioned(CURVED), x, CURVED.schedule.level(t))[0][0]

    both = jax.jit(jax.vmap(jax.value_and_grad(value, (0, 1))))
    d = 1e-6
    h = jnp.asarray(np.array([0.0, 1.0, d, 0.4, 0.4 + d, 0.4 - d, 0.4, 0.4, 0.0, 0.0]))
    t = jnp.asarray(np.array([0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7 + d, 0.7 - d, 0.7 + d, 0.7 - d]))
    values, (in_h, in_t) = both(h, t)
    assert np.isfinite(in_h).all() and np.isfinite(in_t).all()
    np.testing.assert_allclose(in_h[0], (values[2] - values[0]) / d, rtol=1e-4)
    np.testing.assert_allclose(in_h[3], (values[4] - values[5]) / (2 * d), rtol=1e-6)
    np.testing.assert_allclose(in_t[3], (values[6] - values[7]) / (2 * d), rtol=1e-6)
    np.testing.assert_allclose(in_t[0], (values[8] - values[9]) / (2 * d), rtol=1e-6)


def wide(weights, x, t, cond):
    return jnp.tanh(weights @ jnp.tanh(weights.T @ x + t))


def test_memory_policies_trade_an_eighth_of_the_memory_for_one_more_forward():
    """64 steps of a network that keeps much more than its state, from the compiled programs' own accounts."""
    weights = jnp.asarray(np.random.default_rng(0).standard_normal((4, 512)), jnp.float32)
    model = tfg.from_fn(wide, weights, tfg.VPLinear(), prediction="eps", shape=(4,))

    def temporary(remat):
        solve = tfg.TruncatedSolve(1.0, 64, "euler", remat=remat)
        memory: Any = lookahead_at.lower(model, solve, S, jnp.zeros(4)).compile().memory_analysis()
        return memory.temp_size_in_bytes

    everything, plain = temporary("none"), tfg.TruncatedSolve(1.0, 64, "euler")
    assert temporary("step") <= everything / 8
    saving = tfg.TruncatedSolve(1.0, 64, "euler", remat="step")
    assert saving.cost.forwards + saving.recomputed <= 2.2 * plain.cost.forwards


def test_what_is_refused():
    for lookahead, message in (
        (lambda: tfg.TruncatedSolve(1.5), "horizon=1.5 must be a finite number >= 0 and <= 1"),
        (lambda: tfg.TruncatedSolve(-0.1), "horizon=-0.1 must be"),
        (lambda: tfg.TruncatedSolve(float("nan")), "horizon=nan must be"),
        (lambda: tfg.TruncatedSolve(jax.tree_util.Partial(jnp.add, 0.5)), "horizon=.* must be"),
        (lambda: tfg.TruncatedSolve(0.5, 0), "steps=0 must be an integer >= 1"),
        (lambda: tfg.TruncatedSolve(0.5, 2, "rk4"), "solver='rk4' is unknown; choose one of euler, midpoint"),
        (lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Heun), "solver=.* is unknown; give 'euler'"),
        (lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Kvaerno3()), "Kvaerno3 is implicit"),
        (lambda: tfg.TruncatedSolve(0.5, 2, diffrax.SemiImplicitEuler()), "SemiImplicitEuler does not step dy/ds"),
        (
            lambda: tfg.TruncatedSolve(0.5, 2, adjoint=diffrax.DirectAdjoint()),
            "adjoint=DirectAdjoint has no effect on solver='midpoint', which is a scan; pass remat=",
        ),
        (
            lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Heun(), diffrax.ImplicitAdjoint()),
            "adjoint=ImplicitAdjoint differentiates a steady state and drops the gradient",
        ),
        (
            lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Heun(), diffrax.ForwardMode()),
            "adjoint=ForwardMode has no pullback, which guidance needs",
        ),
        (
            lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Heun(), "direct"),
            "adjoint='direct' is not a diffrax adjoint instance",
        ),
        (
            lambda: tfg.TruncatedSolve(0.5, 20, diffrax.Heun(), diffrax.RecursiveCheckpointAdjoint(2)),
            "adjoint.checkpoints=2 would repeat steps more than twice; give more for steps=20",
        ),
        (lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Heun(), remat="step"), "remat='step' has no effect on diffrax"),
        (lambda: tfg.TruncatedSolve(0.5, 6, remat=4), "remat=4 is unknown"),  # type: ignore[arg-type]
        (lambda: tfg.TruncatedSolve(0.5, 6, remat="all"), "remat='all' is unknown"),  # type: ignore[arg-type]
        (lambda: tfg.TruncatedSolve(0.5, jacobian="none"), "jacobian='none' is unknown"),  # type: ignore[arg-type]
        (
            lambda: tfg.TruncatedSolve(0.5, jacobian="identity", remat="step"),
            "remat has no effect with jacobian='identity'",
        ),
        (lambda: tfg.TruncatedSolve(0.5, margin=-1.0), "margin=-1.0? must be"),
    ):
        with pytest.raises(ValueError, match=message):
            lookahead().check_run()
    tfg.TruncatedSolve(tfg.Reach(0.8)).check_run()
    tfg.TruncatedSolve(0.5, 2, diffrax.Heun(), diffrax.ForwardMode())
    with pytest.raises(ValueError, match="needs the denoiser's schedule"):
        tfg.TruncatedSolve()(lambda x, t: tfg.Denoised(x, x), jnp.zeros(1), FLOW.level(0.5))
    assert ode.cost(diffrax.Dopri8(), None, 4)[0].forwards == 4 * 13 + 1


def test_a_field_with_inputs_has_no_one_output_at_a_node():
    grid = ode.Grid(jnp.full(2, 0.5), jnp.zeros(2), lambda start, share, length: start)
    field = lambda y, point, own: own  # noqa: E731
    moved, _ = ode.solve(field, jnp.zeros(1), grid, "euler", "none", inputs=jnp.ones((2, 1)))
    np.testing.assert_array_equal(moved, 1.0)
    refused: list[dict[str, Any]] = [{"first": tfg.Denoised(jnp.zeros(1), jnp.zeros(1))}, {"tail": True}]
    for options in refused:
        with pytest.raises(ValueError, match="drop first and tail"):
            ode.solve(field, jnp.zeros(1), grid, "euler", "none", inputs=jnp.ones((2, 1)), **options)
