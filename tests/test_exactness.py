"""Sampling against what is known exactly: flow maps, linear-Gaussian posteriors, and schedules that are one another.

Errors are measured on analytic data in double precision, so what is left is each method's own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike
from scipy.stats import norm

import tfg_jax as tfg
from tfg_jax import analytic, struct

pytestmark = pytest.mark.usefixtures("x64")


def plane():
    covs = [[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]]
    return analytic.mixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.3]], covs)


def one_gaussian():
    return analytic.gaussian([0.5, -1.0], [[0.3, 0.1], [0.1, 0.2]])


def times(schedule, first, last, steps):
    """Equal steps in log-SNR, where second-order rules show their order; the same path points on every schedule."""
    vp = tfg.VPLinear()
    return schedule.t_of_log_snr(jnp.linspace(vp.log_snr(first), vp.log_snr(last), steps + 1))


exact_flow = jax.jit(lambda data, x, now, next: jax.vmap(data.flow_map, (0, None, None))(x, now, next))


# --- deterministic rules converge to the exact flow map at their order ------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "order"),
    [
        (lambda steps, grid: tfg.DDIM(steps, eta=None, grid=grid), 1),
        (tfg.Euler, 1),
        (tfg.Heun, 2),
        (tfg.DPMSolverPP2M, 2),
    ],
    ids=["ddim", "euler", "heun", "dpm-solver++2m"],
)
def test_deterministic_rules_converge_at_their_order(rule, order):
    schedule = tfg.VPLinear()
    model, now, next = plane().denoiser(schedule), schedule.level(0.7), schedule.level(0.05)
    x = now.scale * jax.random.normal(jax.random.key(0), (8, 2))
    exact = exact_flow(plane(), x, now, next)

    def error(steps):
        grid = tfg.Explicit(times(schedule, 0.7, 0.05, steps))
        got = tfg.sample(jax.random.key(1), model, start=(x, grid.times[0]), sampler=rule(steps, grid=grid))
        return float(jnp.sqrt(jnp.mean((got.x - exact) ** 2)))

    coarse, fine = error(32), error(64)
    assert abs(np.log2(coarse / fine) - order) < 0.25, (coarse, fine)
    assert fine < (2e-2 if order == 1 else 2e-3)


@pytest.mark.parametrize(("order", "rule", "both_ways"), [(1, tfg.Euler, 1), (2, tfg.Heun, 3)], ids=["euler", "heun"])
def test_inversion_comes_back_at_its_order(order, rule, both_ways):
    """The leading error of a second-order step is odd in the step: there and back again it cancels."""
    # Uniform times are equal straight-line steps on this schedule.
    model = plane().denoiser(tfg.RectifiedFlow(), "velocity")
    x = plane().sample(jax.random.key(0), 8)

    def error(steps):
        noise = tfg.invert(model, x, steps=steps, order=order)
        assert noise.status.ok.all()
        back = tfg.sample(jax.random.key(1), model, start=(noise.x, 0.999), sampler=rule(steps))
        return float(jnp.sqrt(jnp.mean((back.x - x) ** 2)))

    coarse, fine = error(40), error(80)
    assert abs(np.log2(coarse / fine) - both_ways) < 0.4, (coarse, fine)
    assert fine < 0.1


# --- stochastic and guided runs converge in distribution
# -----------------------------------------------------------------------

A, MEASURED, NOISE_STD = [[1.0, -0.5]], 1.8, 0.2


@jax.jit
def affine_step(model, sampler, pair, guided):
    """Images of the origin, of the unit vectors and of unit noise under one step."""
    units = jnp.eye(2)
    x = jnp.concatenate([jnp.zeros((1, 2)), units, jnp.zeros((2, 2))])
    z = jnp.concatenate([jnp.zeros((3, 2)), units])
    sampler = sampler.replace(grid=tfg.Explicit(pair))
    options: Any = {} if guided is None else dict(guided, target=jnp.full((5, 1), MEASURED))
    tape = tfg.NoiseTape(None, step=z[:, None, None])  # type: ignore[arg-type]
    return tfg.sample(jax.random.key(0), model, start=(x, pair[0]), noise=tape, sampler=sampler, **options).x


def distribution_of_chain(data, sampler, grid, guided=None):
    """Exact mean and covariance of a run on a Gaussian, whose every step is an affine map plus Gaussian noise."""
    schedule = tfg.VPLinear()
    mean, cov = np.zeros(2), np.eye(2) * float(schedule.level(grid[0]).scale) ** 2
    for pair in zip(grid[:-1], grid[1:], strict=True):
        out = np.asarray(affine_step(data.denoiser(schedule), sampler(1), jnp.stack(pair), guided))
        move, noise = (out[1:3] - out[0]).T, (out[3:] - out[0]).T
        mean, cov = move @ mean + out[0], move @ cov @ move.T + noise @ noise.T
    return mean, cov


def distribution_error(sampler, steps, exact, guided=None):
    grid = jnp.append(times(tfg.VPLinear(), 1.0, 0.001, steps - 1), 0.0)
    mean, cov = distribution_of_chain(one_gaussian(), sampler, np.asarray(grid), guided)
    return np.linalg.norm(mean - exact.mean) + np.linalg.norm(cov - exact.cov)


def ddpm_large(steps):
    return tfg.DDPM(steps, v=1.0)


@pytest.mark.parametrize("sampler", [tfg.DDIM, tfg.DDPM, ddpm_large], ids=["ddim eta=1", "ddpm small", "ddpm large"])
def test_stochastic_rules_converge_in_distribution(sampler):
    coarse, fine = (distribution_error(sampler, steps, one_gaussian()) for steps in (25, 100))
    assert fine < 0.05 and coarse / fine > 2.5, (coarse, fine)


@pytest.mark.parametrize("sampler", [tfg.DDIM, tfg.Heun], ids=["ddim eta=1", "heun"])
def test_exact_guidance_gives_the_exact_posterior(sampler):
    """Bayes' rule: the exact noisy objective at strength 1 samples p(x0 | y), in the limit of many steps."""
    data = one_gaussian()
    posterior = data.posterior(jnp.asarray(A), jnp.array([MEASURED]), NOISE_STD)
    guided: Any = {"objective": analytic.conditional_objective(jnp.asarray(A), NOISE_STD, data)}
    guided["guidance"] = tfg.ClassifierGuidance(strength=1.0)
    coarse, fine = (distribution_error(sampler, steps, posterior, guided) for steps in (25, 100))
    assert fine < 0.05 and coarse / fine > 2.5, (coarse, fine)
    assert np.linalg.norm(posterior.mean - data.mean) > 0.5


def test_samples_follow_the_exact_chain():
    """A vectorised run has the distribution that its steps' affine maps predict."""
    data = one_gaussian()
    grid = jnp.append(times(tfg.VPLinear(), 1.0, 0.01, 9), 0.0)
    mean, cov = distribution_of_chain(data, tfg.DDPM, np.asarray(grid))
    sampler = tfg.DDPM(10, grid=tfg.Explicit(grid))
    x = np.asarray(tfg.sample(jax.random.key(3), data.denoiser(tfg.VPLinear()), num_samples=20_000, sampler=sampler).x)
    np.testing.assert_allclose(x.mean(0), mean, atol=5 * np.sqrt(cov.max() / len(x)))
    np.testing.assert_allclose(np.cov(x.T), cov, atol=7 * cov.max() / np.sqrt(len(x)))


@pytest.mark.parametrize(
    "sampler",
    [
        lambda steps, grid: tfg.DDIM(steps, 1.0, grid),
        lambda steps, grid: tfg.DDPM(steps, 0.5, grid),
        lambda steps, grid: tfg.Euler(steps, grid, tfg.Churn(20.0, noise_scale=1.0)),
    ],
    ids=["ddim eta=1", "ddpm v=0.5", "euler with churn"],
)
def test_stochastic_rules_sample_a_mixture(sampler):
    """No rule is affine here: the whole distribution is compared, weights of the modes and shapes alike."""
    weights, means, stds = [0.3, 0.7], [-1.2, 0.8], [0.2, 0.4]
    data = analytic.mixture(weights, [[m] for m in means], [[[s**2]] for s in stds])
    steps, n = 200, 4000
    grid = tfg.Explicit(jnp.append(times(tfg.VPLinear(), 1.0, 0.001, steps - 1), 0.0))
    out = tfg.sample(jax.random.key(5), data.denoiser(tfg.VPLinear()), num_samples=n, sampler=sampler(steps, grid))
    x = np.sort(np.asarray(out.x)[:, 0])
    exact = sum(w * norm.cdf(x, m, s) for w, m, s in zip(weights, means, stds, strict=True))
    distance = max(np.max(np.arange(1, n + 1) / n - exact), np.max(exact - np.arange(n) / n))
    # Kolmogorov's distance of n exact samples exceeds 1.95 / sqrt(n) = 0.031 once in a thousand keys. The rules' own
    # bias, of order one in the step, is at most 0.01 at 200 steps, as 100,000 samples show; at 20 it is over 0.04.
    assert out.status.ok.all() and distance < 1.95 / np.sqrt(n), distance


# --- one path, many schedules -----------------------------------------------------------------------------------------


@struct.dataclass
class Scaled:
    """The linear VP path times ``1 + gain t``: another schedule, compiled once with every gain."""

    gain: ArrayLike
    t_start: float = struct.field(pytree_node=False, default=1.0)

    def alpha(self, t):
        return (1.0 + self.gain * t) * tfg.VPLinear().alpha(t)

    def sigma(self, t):
        return (1.0 + self.gain * t) * tfg.VPLinear().sigma(t)

    def t_of_log_snr(self, log_snr):
        return tfg.VPLinear().t_of_log_snr(log_snr)

    def level(self, t):
        return tfg.Level(t, self.alpha(t), self.sigma(t))


def first_coordinates(x):
    return x[:1] - 0.5 * x[1:]


SCHEDULES = {
    "ve": tfg.VE(sigma_max=200.0),
    "edm": tfg.EDM(sigma_max=200.0),
    "rectified-flow": tfg.RectifiedFlow(),
    "vp-cosine": tfg.VPCosine(),
}
FULL_TFG = tfg.TFG(0.3, 0.2, 0.1, n_iter=2, n_mc=2, n_recur=2, rho_structure="decrease", mu_structure="constant")
METHODS = {
    "dps": tfg.DPS(0.2),
    "dps residual": tfg.DPS(0.2, normalize="residual"),
    "lgd": tfg.LGD(0.5, n_mc=3),
    "mpgd": tfg.MPGD(0.05),
    "freedom": tfg.FreeDoM(0.3, n_recur=2),
    "ugd": tfg.UGD(0.05, n_iter=3, n_recur=2),
    "classifier": tfg.ClassifierGuidance(0.5),
}
SAMPLERS = {
    "ddpm": lambda grid: tfg.DDPM(5, 0.5, grid),
    "heun": lambda grid: tfg.Heun(5, grid),
    "dpm-solver++2m": lambda grid: tfg.DPMSolverPP2M(5, grid),
}


def run(schedule, guidance, sampler):
    """Samples and an intermediate state in VP coordinates, on the points of one VP grid."""
    grid = jnp.append(times(schedule, 0.95, 0.1, 4), 0.0)
    first, middle = schedule.level(grid[0]), schedule.level(grid[3])
    if isinstance(guidance, tfg.ClassifierGuidance):
        objective = analytic.conditional_objective(jnp.array([[1.0, -0.5]]), 0.5, plane())
    else:
        objective = tfg.objectives.gaussian_log_likelihood(first_coordinates, 0.5)
    out = tfg.sample(
        jax.random.key(2), plane().denoiser(schedule), objective=objective, target=jnp.array([[0.4], [-1.0], [2.0]]),
        guidance=guidance, sampler=sampler(tfg.Explicit(grid)), record=tfg.Record(steps=(2,)),
        start=(first.scale * jax.random.normal(jax.random.key(4), (3, 2)), first.t),
    )  # fmt: skip
    assert out.status.ok.all() and out.x.dtype == jnp.float64
    return np.concatenate([out.x, out.info["x"][:, 0] / middle.scale])


def ddim(grid):
    return tfg.DDIM(5, 1.0, grid)


@pytest.fixture(scope="module")
def on_vp():
    with jax.enable_x64(True):
        return run(tfg.VPLinear(), FULL_TFG, ddim)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_tfg_is_the_same_sampler_on_every_schedule(schedule, on_vp):
    np.testing.assert_allclose(run(schedule, FULL_TFG, ddim), on_vp, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("guidance", METHODS.values(), ids=METHODS)
def test_every_method_is_the_same_sampler_on_every_schedule(guidance):
    vp, other = (run(Scaled(gain), guidance, ddim) for gain in (0.0, 3.0))
    np.testing.assert_allclose(other, vp, rtol=1e-9, atol=1e-10)
    assert np.abs(vp - run(Scaled(0.0), guidance.replace(strength=0.0), ddim)).max() > 1e-3


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_is_the_same_on_every_schedule(sampler):
    vp, other = (run(Scaled(gain), FULL_TFG, sampler) for gain in (0.0, 3.0))
    np.testing.assert_allclose(other, vp, rtol=1e-9, atol=1e-10)


# --- a table of zero terminal SNR, against diffusers' scheduler written out -------------------------------------------


def rescaled_table(count):
    """Linear betas whose cumulative alphas are shifted and scaled to end at 0 (Lin et al., algorithm 1)."""
    root = np.sqrt(np.cumprod(1.0 - np.linspace(1e-3, 0.2, count)))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def indexed(params, x, k, cond):
    return 0.3 * jnp.tanh(x) + 0.01 * k


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_a_rescaled_table_is_diffusers_trajectory(prediction):
    """DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing"), from alpha = 0 exactly."""
    count, steps = 20, 5
    abar = rescaled_table(count)
    x = np.random.default_rng(0).standard_normal((2, 3))
    model = tfg.from_fn(indexed, None, tfg.from_alphas_cumprod(abar), prediction=prediction, shape=(3,))
    out = tfg.sample(
        jax.random.key(0), model, start=(jnp.asarray(x), 1.0),
        sampler=tfg.DDIM(steps, eta=None, grid=tfg.Trailing(count)),
    )  # fmt: skip
    for k in np.round(np.arange(count, 0, -count / steps)).astype(int) - 1:
        before = abar[k - count // steps] if k >= count // steps else 1.0
        raw, a, s = 0.3 * np.tanh(x) + 0.01 * k, np.sqrt(abar[k]), np.sqrt(1.0 - abar[k])
        x0 = raw if prediction == "x0" else a * x - s * raw
        noise = (x - a * x0) / s
        x = np.sqrt(before) * x0 + np.sqrt(1.0 - before) * noise
    np.testing.assert_allclose(out.x, x, rtol=1e-10, atol=1e-12)
