"""The lookahead against closed forms and tables: Tweedie at 0, the flow map at 1, between as known.

All in double precision, in straight-line coordinates s = alpha / (alpha + sigma), xbar = x / (alpha + sigma).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from oracles import (
    FLOW,
    LAM,
    centred,
    golden,
    gradient_factor,
    level_at,
    lookahead_at,
    lookaheads,
    modes,
    share,
    whole_gradient,
)

import tfg_jax as tfg
from tfg_jax.lookahead import Conditioned

pytestmark = pytest.mark.usefixtures("x64")

S = 0.3
SCHEDULES = {
    "flow": (FLOW, "velocity"), "vp": (tfg.VPLinear(), "eps"), "cosine": (tfg.VPCosine(), "v"),
    "ve": (tfg.VE(0.02, 30.0), "x0"),
}  # fmt: skip


def point(x=-0.35):
    return jnp.asarray([x])


def stacked(horizons, steps, solver, **options):
    return jax.vmap(lambda h: tfg.TruncatedSolve(h, steps, solver, **options))(jnp.asarray(np.array(horizons)))


# --- horizon 0 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_horizon_zero_is_tweedie_on_every_schedule(name):
    """The value to the bit, the gradient to round-off; at another horizon all schedules agree on both."""
    model = modes(*SCHEDULES[name])
    both = jax.jit(
        lambda h, s: (
            lookahead_at(model, tfg.TruncatedSolve(h, 4, "heun"), s, point()), lookahead_at(model, tfg.Tweedie(), s,
            point())
        )
    )  # fmt: skip
    for s in (0.05, S, 0.8, 0.999999):
        (value, gradient, denoised), greedy = both(0.0, s)
        np.testing.assert_array_equal(value, denoised.x0)
        np.testing.assert_allclose(value, greedy[0], rtol=1e-14)
        np.testing.assert_allclose(gradient, greedy[1], rtol=1e-14)
    (value, gradient, further), _ = both(0.5, S)
    np.testing.assert_allclose((value[0], gradient[0]), (-0.1984791375, 7.1702238421), rtol=1e-9)
    # The sampler advances with the denoiser's own output, whatever the horizon.
    np.testing.assert_array_equal(further.x0, both(0.0, S)[0][2].x0)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_one_euler_step_is_tweedie_to_data_and_ddim_between_levels(name):
    """And so it is in the coordinates x / alpha and x / sigma; steps of higher order differ between coordinates."""
    model = modes(*SCHEDULES[name])

    @jax.jit
    def everything(x):
        whole = lookahead_at(model, tfg.TruncatedSolve.whole(1, "euler"), S, x)
        greedy = lookahead_at(model, tfg.Tweedie(), S, x)
        now, next = level_at(model.schedule, S), level_at(model.schedule, 0.6)
        scale, scale_next = now.alpha + now.sigma, next.alpha + next.sigma
        denoised = greedy[2]
        ddim = (next.alpha * denoised.x0 + next.sigma * denoised.eps) / scale_next
        along_s = x + 0.3 * (denoised.x0 - denoised.eps)
        along_eps = scale * x / now.alpha + (next.sigma / next.alpha - now.sigma / now.alpha) * denoised.eps
        along_x0 = scale * x / now.sigma + (next.alpha / next.sigma - now.alpha / now.sigma) * denoised.x0
        steps = along_s, next.alpha * along_eps / scale_next, next.sigma * along_x0 / scale_next
        return whole, greedy, ddim, steps

    whole, greedy, ddim, steps = everything(point())
    np.testing.assert_allclose(whole[0], greedy[0], rtol=1e-13)
    np.testing.assert_allclose(whole[1], greedy[1], rtol=1e-13)
    for step in steps:
        np.testing.assert_allclose(step, ddim, rtol=1e-10)


# --- Gaussian data ----------------------------------------------------------------------------------------------------


def test_jacobians_are_scaled_covariances():
    """J_D = alpha/sigma^2 Cov, symmetric and positive; for a Gaussian also alpha J_Phi J_Phi^T."""
    one = tfg.analytic.gaussian([0.3, -0.2], [[0.6, 0.25], [0.25, 0.4]])
    two = tfg.analytic.mixture([0.4, 0.6], [[-1.0, 0.2], [0.8, -0.4]], [[[0.2, 0.05], [0.05, 0.1]], np.eye(2) * 0.3])

    @jax.jit
    def jacobians(x):
        now, end = tfg.VE(0.02, 30.0).level(0.4), tfg.VE(0.02, 30.0).level(0.0)
        flow = jax.jacfwd(lambda x: one.flow_map(x, now, end))(x)
        rows = [
            (
                jax.jacfwd(lambda x, distribution=distribution: distribution.denoised(x, now).x0)(x),
                distribution.given(x, now).cov,
            )
            for distribution in (one, two)
        ]
        return now, flow, rows

    now, flow, rows = jacobians(jnp.array([0.1, 0.3]))
    for jacobian, cov in rows:
        np.testing.assert_allclose(jacobian, now.alpha / now.sigma**2 * cov, rtol=1e-11)
        assert np.linalg.eigvalsh(jacobian).min() > 0
    np.testing.assert_allclose(rows[0][0], now.alpha * flow @ flow.T, rtol=1e-11)
    np.testing.assert_allclose(rows[0][1], now.sigma**2 * flow @ flow.T, rtol=1e-11)


GAUSSIAN = {  # horizon: J_h, J_h / J_Phi of the scalar Gaussian at s = 0.3
    0.0: (0.3797468354, 0.3375263703), 0.25: (0.6790523055, 0.6035548911), 0.5: (0.9460865234, 0.8409000956),
    0.75: (1.0905828810, 0.9693312675), 0.9: (1.1205624471, 0.9959776887), 0.99: (1.1250479678, 0.9999645067),
}  # fmt: skip


def test_gaussian_gradient_against_horizon():
    """In ratio to the whole solve it is sqrt(rho) where the solve ends, in every direction: increasing."""
    lam, x = np.array([LAM, 0.4, 2.2]), jnp.array([0.4, -1.0, 0.3])
    _, gradients, _ = lookaheads(centred(lam), stacked(list(GAUSSIAN), 1024, "midpoint"), S, x)
    table = np.array(list(GAUSSIAN.values()))
    np.testing.assert_allclose(gradients[:, 0], table[:, 0], rtol=1e-6)
    np.testing.assert_allclose(table[:, 0] / whole_gradient(S, LAM), table[:, 1], rtol=1e-9)
    s_tau = S + np.array(list(GAUSSIAN))[:, None] * (1 - S)
    np.testing.assert_allclose(gradients, whole_gradient(S, lam) * np.sqrt(share(s_tau, lam)), rtol=1e-5)
    assert np.all(np.diff(gradients, axis=0) > 0)


def test_what_is_left_of_the_gradient_falls_with_the_square_of_what_is_left():
    left = np.array([0.08, 0.04, 0.02, 0.01])
    _, gradients, _ = lookaheads(centred(LAM), stacked(1 - left / (1 - S), 1024, "midpoint"), S, jnp.array([0.4]))
    missing = whole_gradient(S, LAM) - np.asarray(gradients[:, 0])
    np.testing.assert_allclose(np.log2(missing[:-1] / missing[1:]), [2.11, 2.06, 2.03], atol=0.02)


def test_greedy_overshoots():
    """D(x*) = x0* leaves Phi(x*) off by 1/sqrt(rho); the excess falls with the square of 1 - s."""
    goal, excess = 0.9, []
    for s in (0.8, 0.9, 0.95):
        x = goal * (s**2 * LAM + (1 - s) ** 2) / (s * LAM)  # D = s lam / S x
        np.testing.assert_allclose(lookahead_at(centred(LAM), tfg.Tweedie(), s, jnp.array([x]))[0], goal, rtol=1e-12)
        excess.append(whole_gradient(s, LAM) * x - goal)
        np.testing.assert_allclose(excess[-1] + goal, goal / np.sqrt(share(s, LAM)), rtol=1e-12)
    assert np.all(np.abs(np.log2(np.divide(excess[:-1], excess[1:])) - 2.0) < 0.45)


def products(solver, n):
    """The gradient of the discretized whole solve as a product over its steps."""
    s, h, a = S + (1 - S) / n * np.arange(n), (1 - S) / n, gradient_factor
    match solver:
        case "euler":
            return np.prod(1 + h * a(s))
        case "midpoint":
            return np.prod(1 + h * a(s + h / 2) * (1 + h / 2 * a(s)))
        case "ralston":
            return np.prod(1 + h * (a(s) / 4 + 3 / 4 * a(s + 2 * h / 3) * (1 + 2 * h / 3 * a(s))))
    return np.prod(1 + h / 2 * (a(s) + a(s + h) * (1 + h * a(s))))


@pytest.mark.parametrize(
    ("solver", "one", "thirteen"),
    [
        ("euler", 0.379746835443, 1.060614757820), ("midpoint", 1.121232985541, 1.125071071228),
        ("heun", 0.822784810127, 1.124611309747), ("ralston", None, None),
    ],
)  # fmt: skip
def test_discrete_gradients_are_the_products_of_their_steps(solver, one, thirteen):
    """With a margin of nothing at the data end, where the gradient's own form is finite."""
    for n, table in ((1, one), (13, thirteen)):
        whole = tfg.TruncatedSolve.whole(n, solver, margin=1e-12)
        gradient = lookahead_at(centred(LAM), whole, S, jnp.array([0.4]))[1][0]
        np.testing.assert_allclose(gradient, products(solver, n), rtol=1e-10)
        if table is not None:
            np.testing.assert_allclose(gradient, table, rtol=1e-11)


# --- the golden mixture point -----------------------------------------------------------------------------------------

EXACT = {  # horizon: estimate, its derivative
    0.0: (-0.1672114157, 0.8146481055), 0.25: (-0.3499790935, 1.7556352622), 0.5: (-0.2163437308, 7.2021181864),
    0.6: (0.1143514934, 10.5290781182), 0.75: (0.3132470189, 0.7622195301), 0.9: (0.2379349188, 1.3838200685),
    0.99: (0.1976596227, 1.7277017331), 0.995: (0.1972825027, 1.7309216784), 0.9975: (0.1971886664, 1.7317228765),
    1.0: (0.1971575048, 1.7319889426),
}  # fmt: skip
PHI = EXACT[1.0]
HORIZONS = (0.25, 0.5, 0.75, 0.9, 0.99)
DISCRETE = {  # solver, steps: estimate, derivative at each of these horizons
    ("euler", 8): [-0.3443680650, 1.7248485138, -0.2007605198, 5.8021955504, 0.2982382438, 1.0333360210,
                   0.2229231609, 1.6132416156, 0.2257584521, 1.5134942454],
    ("midpoint", 8): [-0.3500006478, 1.7551407744, -0.2210895389, 7.1146300234, 0.3113052158, 0.8445303035,
                      0.2334290499, 1.6335459939, 0.1953584603, 1.8341420292],
    ("ralston", 4): [-0.3499317335, 1.7550542154, -0.2214027949, 6.9885022234, 0.3127857384, 1.0502383942,
                     0.2234333980, 1.4591958789, 0.1712198358, 3.7989202260],
}  # fmt: skip


@pytest.mark.parametrize(("solver", "steps"), DISCRETE)
def test_the_table_of_discretized_lookaheads(solver, steps):
    values, gradients, _ = lookaheads(modes(), stacked(HORIZONS, steps, solver), S, point())
    table = np.reshape(DISCRETE[solver, steps], (5, 2))
    np.testing.assert_allclose(values[:, 0], table[:, 0], atol=1e-9)
    np.testing.assert_allclose(gradients[:, 0], table[:, 1], atol=1e-9)


def test_one_midpoint_step_to_data_without_a_tail():
    x0, jacobian, _ = lookahead_at(modes(), tfg.TruncatedSolve.whole(1, "midpoint"), S, point())
    np.testing.assert_allclose((x0[0], jacobian[0]), (0.1715708734, 4.0619544387), atol=1e-9)


def test_the_exact_table_is_reached():
    """The estimate's error falls with the horizon; the gradient's rises tenfold first, and only then to nothing."""
    values, gradients, _ = lookaheads(modes(), stacked(list(EXACT), 4096, "midpoint"), S, point())
    table = np.array(list(EXACT.values()))
    np.testing.assert_allclose(values[:, 0], table[:, 0], atol=2e-6)
    np.testing.assert_allclose(gradients[:, 0], table[:, 1], rtol=2e-5)
    errors = np.abs(table[:, 1] / PHI[1] - 1)
    assert errors[3] > 9 * errors[0]
    np.testing.assert_allclose(errors[7] / errors[8], 4.0, rtol=0.05)


def test_the_flow_map_on_a_line_is_the_quantile_map():
    """``Phi = F_1^-1(F_s(x))`` with gradient p_s / p_1, at the golden point and at the end of the exact table."""
    now = golden().noisy(level_at(FLOW, S))

    def cdf(distribution, x):
        return float(
            distribution.weights
            @ scipy.stats.norm.cdf((x - distribution.means[:, 0]) / np.sqrt(distribution.variances[:, 0]))
        )

    np.testing.assert_allclose(cdf(golden(), PHI[0]), cdf(now, -0.35), atol=1e-9)
    ratio = jax.jit(lambda: now.log_prob(point()) - golden().log_prob(point(PHI[0])))()
    np.testing.assert_allclose(np.exp(ratio), PHI[1], rtol=1e-8)


def test_a_longer_horizon_gives_a_better_estimate():
    """Root mean square over the distribution of x_s; nothing of the kind is claimed of the gradient."""
    model, now = modes(), golden().noisy(level_at(FLOW, S))

    @jax.jit
    def errors(x):
        estimate = lambda h, x: tfg.TruncatedSolve(h, 64).estimate(Conditioned(model), x, level_at(FLOW, S))[0]  # noqa: E731
        every = jax.vmap(jax.vmap(estimate, (None, 0)), (0, None))(jnp.array([0.0, 0.25, 0.5, 0.75, 0.9, 1.0]), x)
        return jnp.sqrt(jnp.mean((every[:-1] - every[-1]) ** 2, axis=(1, 2)))

    found = errors(now.sample(jax.random.key(0), 200))
    np.testing.assert_allclose(found, [0.641, 0.381, 0.140, 0.053, 0.016], rtol=0.35)
    assert np.all(np.diff(found) < 0)


def test_a_discrete_table_is_never_read_cleaner_than_its_first_node():
    table = tfg.from_alphas_cumprod(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000)))
    seen = []

    def network(params, x, t, cond):
        jax.debug.callback(lambda t: seen.append(float(t)), t)
        return x

    model = tfg.from_fn(network, None, table, prediction="eps", shape=(1,))
    jax.block_until_ready(lookahead_at(model, tfg.TruncatedSolve(1.0, 3, "heun"), 0.5, point()))
    jax.effects_barrier()
    assert len(seen) == 7 and -1e-3 < min(seen) < 1e-3
