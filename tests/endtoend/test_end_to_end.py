"""Source and control optimization: exact discrete gradients, the right regularizer, stops that stop, honest costs."""

import inspect
from collections import Counter
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tfg_jax as tfg
from tfg_jax.endtoend.descend import lbfgs, minimize
from tfg_jax.endtoend.source import chi_energy
from tfg_jax.lookahead import Conditioned
from tfg_jax.ode import Tableau
from tfg_jax.result import LARGEST

D = 3
LAM = (0.4, 1.3, 2.2)
KEY = jax.random.key(0)


def velocity(params, x, t, cond):
    """Ideal for independent Gaussians on the straight path, bent a little."""
    lam, s = jnp.asarray(np.array(LAM), x.dtype), 1.0 - t
    return -(s * lam - (1 - s)) / (s**2 * lam + (1 - s) ** 2) * x + 0.1 * jnp.sin(2.0 * x)


def near(x0, y):
    return -jnp.sum((x0 - y) ** 2)


MODEL = tfg.from_fn(velocity, None, tfg.RectifiedFlow(), prediction="velocity", shape=(D,))
GOAL = np.array([[1.0, 0.0, 0.2], [0.0, 2.0, 0.3]], np.float32)
SGD = optax.sgd(0.05)
STILL = optax.sgd(0.0)
STORING = optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(5, store_grad=True))


def run(method, n=2, **options: Any):
    given: Any = {"objective": near, "target": jnp.asarray(GOAL[:n]), "num_samples": n, **options}
    return tfg.end_to_end(KEY, MODEL, method, **given)


def test_the_regularizer_is_least_on_the_shell(x64):
    """R = ||z||^2/2 - (d - 1) log ||z||: gradient 0 at ||z|| = sqrt(d - 1), curvature 2 along it, -log chi density."""
    z = jnp.asarray(np.random.default_rng(0).standard_normal(5))
    on_shell = z / jnp.linalg.norm(z) * 2.0
    np.testing.assert_allclose(jax.grad(chi_energy)(on_shell), 0.0, atol=1e-14)
    along = lambda r: chi_energy(r * on_shell / 2.0)  # noqa: E731
    np.testing.assert_allclose(jax.grad(jax.grad(along))(2.0), 2.0, rtol=1e-12)
    assert along(1.9) > along(2.0) < along(2.1)
    np.testing.assert_allclose(along(3.0) - along(1.0), 4.0 - 4.0 * np.log(3.0), rtol=1e-12)


@pytest.mark.parametrize("kind", ["additive", "kick"])
def test_control_gradients_are_the_discrete_adjoint(kind, x64):
    """By hand from costates: h_i a_{i+1} + weight h_i z_i for additive controls, a_i + weight d_i for kicks."""
    n, weight, target = 4, 0.3, jnp.asarray(GOAL[0], jnp.float64)
    levels = MODEL.schedule.level(jnp.asarray(np.array([0.9, 0.6, 0.4, 0.1, 0.0])))
    rng = np.random.default_rng(1)
    y, controls = jnp.asarray(rng.standard_normal(D)), 0.1 * jnp.asarray(rng.standard_normal((n, D)))
    method = tfg.Controls(n, kind, weight)
    z = (y * (levels.alpha[0] + levels.sigma[0])) / levels.scale[0]
    _, solve = method.problem(Conditioned(MODEL), levels, z)

    def total(controls):
        x, penalty = solve(controls)
        return penalty - near(x, target)

    got = jax.jit(jax.grad(total))(controls)
    s, field = np.asarray(levels.s), lambda y, s: -velocity(None, y, 1.0 - s, None)
    h, states, jacobian = np.diff(s), [y], jax.jit(jax.jacfwd(field))
    for i in range(n):
        kicked = states[i] + (controls[i] if kind == "kick" else 0.0)
        push = controls[i] if kind == "additive" else 0.0
        states.append(kicked + h[i] * (field(kicked, s[i]) + push))
    costate, expected = 2.0 * (states[n] - target), np.zeros((n, D))
    for i in reversed(range(n)):
        if kind == "additive":
            expected[i] = h[i] * costate + weight * h[i] * controls[i]
            costate = costate + h[i] * jacobian(states[i], s[i]).T @ costate
        else:
            costate = costate + h[i] * jacobian(states[i] + controls[i], s[i]).T @ costate
            expected[i] = costate + weight * controls[i]
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "solver", "adjoint"), [("kick", "heun", diffrax.DirectAdjoint()), ("additive", "bosh3", None)]
)
def test_scan_and_diffrax_give_the_same_controls(kind, solver, adjoint, x64):
    """Value and gradient to round-off, on a grid of uneven steps, and by central differences; real calls are those that
    cost tells.

    Bosh3 reuses its last stage as the next first one, which it must not do across a jump of the controls.
    """
    theirs, ours = {
        "heun": (diffrax.Heun(), "heun"),
        "bosh3": (diffrax.Bosh3(), Tableau(((0.5,), (0.0, 0.75)), (2 / 9, 1 / 3, 4 / 9), (0.5, 0.75))),
    }[solver]  # fmt: skip
    calls = Counter()

    def counted(params, x, t, cond):
        jax.debug.callback(lambda _: calls.update(["forwards"]), x[0])
        return velocity(params, x, t, cond)

    model = tfg.from_fn(counted, None, tfg.RectifiedFlow(), prediction="velocity", shape=(D,))
    levels = model.schedule.level(jnp.asarray(np.array([0.95, 0.6, 0.3, 0.1, 0.0])))
    rng = np.random.default_rng(2)
    z, controls = jnp.asarray(rng.standard_normal(D)), jnp.asarray(0.3 * rng.standard_normal((4, D)))

    def value_and_gradient(method):
        def total(controls):
            x, penalty = method.problem(Conditioned(model), levels, z)[1](controls)
            return penalty + jnp.sum(x**3)

        return jax.jit(jax.value_and_grad(total))

    scan = value_and_gradient(tfg.Controls(4, kind, 0.3, solver=ours, remat="none"))
    expected = scan(controls)
    for index in ((0, 1), (2, 2)):
        bump = jnp.zeros_like(controls).at[index].set(1e-5)
        slope = (scan(controls + bump)[0] - scan(controls - bump)[0]) / 2e-5
        np.testing.assert_allclose(expected[1][index], slope, rtol=1e-6)
    jax.effects_barrier()
    calls.clear()
    method = tfg.Controls(4, kind, 0.3, solver=theirs, adjoint=adjoint)
    got = jax.block_until_ready(value_and_gradient(method)(controls))
    jax.effects_barrier()
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-12, atol=1e-13)
    assert calls["forwards"] <= method.closure.forwards
    # Bosh3's last stage is evaluated for its error alone.
    assert method.closure.pullbacks == {"heun": 8, "bosh3": 16}[solver]


@pytest.mark.parametrize("kind", ["additive", "kick"])
def test_controls_of_zero_are_the_unguided_sampler(kind):
    grid = tfg.Explicit(jnp.array([0.95, 0.6, 0.3, 0.0]))
    out = run(tfg.Controls(3, kind, iterations=1, optimizer=STILL, grid=grid))
    plain = tfg.sample(KEY, MODEL, num_samples=2, sampler=tfg.Euler(3, grid=grid))
    np.testing.assert_allclose(out.x, plain.x, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out.info["variable"], 0.0)


def test_both_reach_the_goal_and_report_their_calls():
    """The samples go to the targets; what is reported is within the bound given before the run."""
    # The bent flow reaches these targets from some source, so the optimum of the source is a perfect fit.
    source = tfg.DFlow(tfg.TruncatedSolve(1.0, 4), iterations=12, tolerance=1e-3)
    controls = tfg.Controls(4, weight=1e-3, iterations=12, tolerance=1e-3)
    for method in (source, controls):
        out, bound = run(method), tfg.upper_end_to_end_cost(method)
        assert out.status.ok.all() and np.abs(out.x - GOAL).max() < 2e-2
        assert (out.info["iterations"] < 12).all() and (out.info["objective"] > -1e-3).all()
        assert np.all(out.cost.forwards < bound.forwards) and np.all(out.cost.pullbacks < bound.pullbacks)
        calls = out.cost.objective
        np.testing.assert_array_equal(out.cost.pullbacks, calls * method.closure.pullbacks)
        np.testing.assert_array_equal(out.cost.forwards, calls * method.closure.forwards + method.final.forwards)
    plain = run(tfg.DFlow(tfg.TruncatedSolve(1.0, 4), iterations=1, optimizer=STILL))
    assert np.abs(plain.x - GOAL).max() > 0.5
    np.testing.assert_array_equal(plain.cost.forwards, 2 * 9 + 9)


def test_what_a_run_will_take_is_known_before():
    """The bound on its calls, and memory that holds at least the result; nothing is run."""
    given: Any = {"objective": near, "target": jnp.zeros((64, D)), "num_samples": 64}
    method = tfg.Controls(4, iterations=2, optimizer=SGD)
    found = tfg.preview_end_to_end(KEY, MODEL, method, **given)
    assert found.cost == tfg.upper_end_to_end_cost(method)
    assert (found.cost.forwards, found.cost.pullbacks, found.cost.objective) == (3 * 8 + 4, 3 * 4, 3)
    assert found.memory is not None and found.memory > 64 * (4 + 1) * D * 4  # the controls and the sample
    with pytest.raises(ValueError, match="weight=-1.0? must be"):
        tfg.preview_end_to_end(KEY, MODEL, tfg.Controls(weight=-1.0), **given)


def test_a_run_and_its_preview_take_the_same_arguments_and_count_samples_as_sample_does():
    same = [list(inspect.signature(each).parameters.values()) for each in (tfg.end_to_end, tfg.preview_end_to_end)]
    assert same[0] == same[1]
    method = tfg.Controls(2, iterations=1, optimizer=SGD)
    given: Any = {"objective": near, "target": jnp.asarray(GOAL)}
    unpaired = tfg.CFGPlusPlus(MODEL.replace(num_classes=2, null_cond=1), 0.5)  # type: ignore[attr-defined]
    two = tfg.end_to_end(KEY, MODEL, method, **given)
    np.testing.assert_array_equal(two.x, run(method).x)
    for call in (lambda **o: tfg.end_to_end(KEY, MODEL, method, **o), lambda **o: tfg.sample(KEY, MODEL)):
        with pytest.raises(ValueError, match="num_samples is missing; pass it, or a target, cond or start"):
            call(objective=near)
    with pytest.raises(ValueError, match="has no probability flow for method=Controls"):
        tfg.preview_end_to_end(KEY, unpaired, method, **given, cond=jnp.zeros(2, jnp.int32))


def test_both_networks_of_a_transform_are_counted():
    """Away from itself a model is itself, and each evaluation calls it twice."""
    given: Any = {"objective": near, "target": jnp.zeros((2, D)), "num_samples": 2}
    twice = tfg.Autoguidance(MODEL, MODEL, 0.5)
    for method in (
        tfg.DFlow(tfg.TruncatedSolve(1.0, 2), 1, optimizer=SGD),
        tfg.Controls(2, iterations=1, optimizer=SGD),
    ):
        found, plain = (tfg.end_to_end(KEY, model, method, **given) for model in (twice, MODEL))
        np.testing.assert_allclose(found.x, plain.x, rtol=1e-4, atol=1e-5)
        for calls in ("forwards", "pullbacks"):
            np.testing.assert_array_equal(getattr(found.cost, calls), 2 * getattr(plain.cost, calls))
        bound = tfg.upper_end_to_end_cost(method, twice, conditional=False)
        assert tfg.preview_end_to_end(KEY, twice, method, **given).cost == bound
        np.testing.assert_array_equal(found.cost.forwards, bound.forwards)


def test_any_optimizer_and_a_start_of_ones_own():
    """Gradient descent from an inversion: each step lowers the loss; blend 0 forgets the start."""
    solve = tfg.TruncatedSolve(1.0, 3, "heun")
    start = tfg.invert(MODEL, jnp.asarray(GOAL), steps=40).x
    few = run(tfg.DFlow(solve, 1, optimizer=SGD), start=start)
    assert np.abs(few.x - GOAL).max() < 0.1
    noise = run(tfg.DFlow(solve, 1, optimizer=SGD), start=start, blend=0.0)
    np.testing.assert_allclose(noise.x, run(tfg.DFlow(solve, 1, optimizer=SGD)).x, rtol=1e-5, atol=1e-6)
    more = run(tfg.DFlow(solve, 30, optimizer=SGD))
    assert (more.info["objective"] > noise.info["objective"]).all()


def unbounded(x0, target):
    return 1e6 * jnp.sum(x0) + target


def flat(x0, target):
    return 0.0 * jnp.sum(x0) + target


@pytest.mark.parametrize("method", [tfg.DFlow(tfg.TruncatedSolve(1.0, 2), 4), tfg.Controls(2, iterations=4)])
def test_divergence_and_no_gradient_are_said(method):
    """An unbounded reward goes beyond the data's units; a flat one leaves the sample where it was."""
    out = run(method, objective=unbounded, target=jnp.zeros(2))
    assert out.status.code.tolist() == [3, 3] and (out.status.step >= 0).all() and not out.status.ok.any()
    assert np.abs(out.info["variable"]).max() <= LARGEST and np.abs(out.x).max() < 10 * LARGEST
    out = run(method, objective=flat, target=jnp.zeros(2))
    assert out.status.code.tolist() == [4, 4] and out.status.ok.all() and out.info["iterations"].tolist() == [0, 0]


def cliff(z):
    """A bowl with a wall of NaN for the second lane, whose minimum is beyond it."""
    return jnp.where(z[0] > 3.0, jnp.nan, jnp.sum((z - 1.0) ** 2))


def test_a_sample_that_is_done_stops():
    """A converged or non-finite one takes no further evaluations, changes no more, and does not touch the others."""
    starts = jnp.asarray(np.array([[0.5, 1.0], [9.0, 1.0], [1.0, 1.0], [-40.0, 30.0]], np.float32))
    descend = lambda opt, k: jax.jit(jax.vmap(lambda z: minimize(cliff, z, opt, k, 1e-4)))(starts)  # noqa: E731
    for optimizer, iterations in ((lbfgs(20), 20), (optax.sgd(0.25), 40)):
        found = descend(optimizer, iterations)
        np.testing.assert_array_equal(found.status.code, [0, 1, 0, 0])
        np.testing.assert_array_equal(found.evaluations[1:3], 1)
        np.testing.assert_array_equal(found.variable[1], starts[1])
        np.testing.assert_allclose(found.variable[np.array([0, 2, 3])], 1.0, atol=1e-3)
        assert found.iterations[3] < iterations


def test_a_rate_is_the_step_size_and_traced():
    """A sweep of rates compiles once, and each is the optimizer of that step size."""
    start = jnp.asarray([0.5, 1.5])
    sweep = jax.jit(jax.vmap(lambda rate: minimize(cliff, start, optax.sgd(1.0), 3, 0.0, rate).variable))
    found = sweep(jnp.asarray([0.1, 0.25]))
    for variable, size in zip(found, (0.1, 0.25), strict=True):
        np.testing.assert_allclose(variable, 1.0 + (start - 1.0) * (1.0 - 2.0 * size) ** 3, rtol=1e-5)


@pytest.mark.parametrize("method", [tfg.DFlow(iterations=3), tfg.Controls(4, iterations=3)])
def test_a_rate_alone_is_adam(method):
    """And a run costs one evaluation an iteration."""
    found, plain = run(method.replace(rate=0.1)), run(method.replace(optimizer=optax.adam(0.1)))
    np.testing.assert_allclose(found.x, plain.x, rtol=1e-5, atol=1e-6)
    once = method.closure * 4 + method.final
    assert tfg.upper_end_to_end_cost(method.replace(rate=0.1)) == once
    np.testing.assert_array_equal(found.cost.forwards, once.forwards)


def test_what_is_refused():
    cases: Any = (
        (lambda: tfg.DFlow(tfg.TruncatedSolve(2.0)), {}, "horizon=2.0? must be"),
        (lambda: tfg.DFlow(tfg.TruncatedSolve(jacobian="identity")), {}, "does not reach the source; use 'full'"),
        (lambda: tfg.DFlow(iterations=0), {}, "iterations=0 must be"),
        (lambda: tfg.DFlow(regularizer=-1.0), {}, "regularizer=-1.0? must be"),
        (lambda: tfg.DFlow(optimizer=SGD, line_search=3), {}, "line_search=3 is of L-BFGS, which optimizer replaces"),
        (lambda: tfg.DFlow(optimizer="adam"), {}, "optimizer='adam' is not an optax optimizer"),
        (lambda: tfg.DFlow(optimizer=STORING), {}, "store_grad=True; make it with store_grad=False"),
        (lambda: tfg.DFlow(rate=0.1, line_search=3), {}, "line_search=3 is of L-BFGS, which rate replaces"),
        (lambda: tfg.Controls(optimizer=lbfgs(3), rate=0.1), {}, "no effect on an optimizer with a line search"),
        (lambda: tfg.Controls(optimizer=SGD, rate=-1.0), {}, "rate=-1.0? must be"),
        (lambda: tfg.Controls(0), {}, "steps=0 must be"),
        (lambda: tfg.Controls(kind="push"), {}, "kind='push' is unknown"),  # type: ignore[arg-type]
        (lambda: tfg.Controls(weight=-1.0), {}, "weight=-1.0? must be"),
        (lambda: tfg.Controls(6, remat=4), {}, "remat=4 is unknown"),  # type: ignore[arg-type]
        (
            lambda: tfg.Controls(6, adjoint=diffrax.DirectAdjoint()),
            {},
            "adjoint=DirectAdjoint has no effect on solver='euler'",
        ),
        (lambda: tfg.Controls(6, solver="rk4"), {}, "solver='rk4' is unknown"),
        (lambda: tfg.Controls(6, solver=diffrax.Kvaerno3()), {}, "Kvaerno3 is implicit"),
        (
            lambda: tfg.Controls(6, solver=diffrax.Heun(), remat="step"),
            {},
            "remat='step' has no effect on diffrax solvers",
        ),
        (
            lambda: tfg.Controls(6, solver=diffrax.Heun(), adjoint=diffrax.ForwardMode()),
            {},
            "ForwardMode has no pullback",
        ),
        (lambda: tfg.Controls(6, solver=diffrax.Heun(), adjoint=diffrax.BacksolveAdjoint()), {}, "from the wrong side"),
        (lambda: tfg.Controls(), {"blend": 0.5}, "blend has no effect without start"),
        (lambda: tfg.Controls(), {"start": jnp.zeros((2, 5))}, "start has shape"),
        (lambda: tfg.Controls(), {"num_samples": 0}, "num_samples=0 must be"),
        (lambda: tfg.Controls(), {"target": jnp.zeros((3, D))}, "target has a leaf of shape"),
    )
    for method, options, message in cases:
        with pytest.raises(ValueError, match=message):
            run(method(), **options)  # type: ignore[arg-type]
