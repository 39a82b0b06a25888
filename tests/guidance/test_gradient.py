"""Gradient guidance against the exact conditional score, on every schedule; what it leaves alone, bit by bit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import analytic, struct
from tfg_jax.guidance.base import Next, StepContext
from tfg_jax.lookahead import Tweedie
from tfg_jax.result import Cost
from tfg_jax.schedules import Level

pytestmark = pytest.mark.usefixtures("x64")

# Points of paths: what a schedule is to one step. VP, VE, EDM and flow, noisy to clean.
LEVELS = [(0.02, 0.9998), (0.8, 0.6), (0.999, 0.0447), (1.0, 30.0), (1.0, 0.5), (1.0, 0.02), (0.4, 0.6), (0.97, 0.03)]


@struct.dataclass
class Point:
    """A schedule of one level, traced: every level shares one compilation."""

    a: Any
    s: Any

    def level(self, t):
        return Level(jnp.asarray(t), jnp.asarray(self.a), jnp.asarray(self.s))


D, RANK = 64, 16


def basis(dim=D, rank=RANK, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0][:, :rank]


def standard(dim):
    return analytic.gaussian(np.zeros(dim), np.eye(dim))


def in_plane():
    return analytic.in_subspace(basis(6, 2), standard(2))


def two_lumps():
    covs = [[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]]
    return analytic.in_subspace(basis(6, 2), analytic.mixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.3]], covs))


def edited(guidance, data, point, x, g, y):
    """The guided (eps, x0) of one step, and the plain ones."""
    level = point.level(0.5)
    model: Any = lambda x, t: data.denoised(x, level)  # noqa: E731
    ctx = StepContext(
        x=x, now=level, next=level, index=jnp.asarray(0), cond=None, noise=None,  # type: ignore[arg-type]
        denoise=model, lookahead=Tweedie(), clip=None, objective=tfg.objectives.linear(), target=(g, y),
        rule=lambda ctx, denoised: Next((denoised.eps, denoised.x0), None, Cost()),  # type: ignore[arg-type]
    )  # fmt: skip
    return guidance.step(ctx).x, model(x, level.t)


@jax.jit
def score_shift(guidance, data, point, x, g, y):
    """G in the coordinates of x, and how far (x0, eps) is off ``x = alpha x0 + sigma eps``."""
    (eps, x0), plain = edited(guidance, data, point, x, g, y)
    return (plain.eps - eps) / point.s, point.a * x0 + point.s * eps - x


@jax.jit
def exact_shift(data, point, x, g, y, noise_std):
    return jax.grad(lambda x: data.given(x, point.level(0.5)).log_evidence(g[None], y[None], noise_std))(x)


def agreement(guidance, data, alpha, sigma, noise_std=0.1, seed=1):
    """Largest difference to the exact score of y given x_t, relative to its largest entry."""
    rng, point = np.random.default_rng(seed), Point(alpha, sigma)
    dim = data.means.shape[1]
    x = jnp.asarray(rng.standard_normal(dim)) * np.hypot(alpha, sigma)
    g, y = jnp.asarray(3.7 * rng.standard_normal(dim) / np.sqrt(dim)), jnp.asarray(1.3)
    shift, off = score_shift(guidance, data, point, x, g, y)
    exact = exact_shift(data, point, x, g, y, noise_std)
    assert jnp.abs(off).max() < 1e-11 * np.hypot(alpha, sigma)  # x0 and eps moved together
    return float(jnp.abs(shift - exact).max() / jnp.abs(exact).max())


LOOK_AHEAD = tfg.GradientGuidance(noise_std=0.1)
EXACT = tfg.GradientGuidance(noise_std=0.1, beta="exact")
NAIVE = tfg.NaiveGradientGuidance(noise_std=0.1)


def test_look_ahead_is_the_exact_conditional_score_on_a_subspace():
    data = analytic.in_subspace(basis(), standard(RANK))
    for alpha, sigma in LEVELS:
        assert agreement(LOOK_AHEAD, data, alpha, sigma) < 1e-9
    for seed, noise_std in enumerate((0.01, 0.1, 2.0)):
        given = tfg.GradientGuidance(noise_std=noise_std)
        assert agreement(given, data, 0.8, 0.6, noise_std, seed) < 1e-12


STRETCHED = ([0.5, -1.0], [[1.0, 0.0], [0.0, 4.0]])


def test_exact_denominator_holds_for_every_gaussian():
    for data in (analytic.gaussian(*STRETCHED), standard(3), in_plane()):
        for alpha, sigma in LEVELS:
            assert agreement(EXACT, data, alpha, sigma) < 1e-9


def test_the_published_denominator_needs_a_projection():
    for alpha, sigma in LEVELS:
        assert agreement(LOOK_AHEAD, in_plane(), alpha, sigma) < 1e-9
    assert agreement(LOOK_AHEAD, analytic.gaussian(*STRETCHED), 0.8, 0.6) > 1e-2


def test_all_forms_agree_on_isotropic_data():
    for alpha, sigma in LEVELS:
        for guidance in (NAIVE, LOOK_AHEAD):
            assert agreement(guidance, standard(3), alpha, sigma) < 1e-9
    assert agreement(NAIVE, in_plane(), 0.8, 0.6) > 1e-2


@pytest.mark.parametrize(
    "guidance",
    [LOOK_AHEAD, EXACT, NAIVE, tfg.GradientGuidance(beta="constant"), tfg.NaiveGradientGuidance(beta="constant")],
    ids=["look-ahead", "exact", "naive", "constant", "naive, constant"],
)
def test_every_schedule_is_vp_seen_through_a_scaling(guidance):
    """Where no form is exact: x and its level scaled by any k, the noise moves the same."""
    rng = np.random.default_rng(4)
    x, g, y = jnp.asarray(rng.standard_normal(6)), jnp.asarray(rng.standard_normal(6)), jnp.asarray(2.0)
    vp = 0.6 * score_shift(guidance, two_lumps(), Point(0.8, 0.6), x, g, y)[0]
    for k in (0.01, 50.0):
        other = 0.6 * k * score_shift(guidance, two_lumps(), Point(0.8 * k, 0.6 * k), k * x, g, y)[0]
        np.testing.assert_allclose(other, vp, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("data", [in_plane, two_lumps], ids=["gaussian", "mixture"])
def test_look_ahead_shift_lies_in_the_subspace(data):
    plane, rng = basis(6, 2), np.random.default_rng(3)
    x, g = (jnp.asarray(rng.standard_normal(6)) for _ in range(2))
    shift, _ = score_shift(LOOK_AHEAD, data(), Point(0.7, 0.5), x, g, jnp.asarray(2.0))
    assert jnp.abs(shift - plane @ (plane.T @ shift)).max() < 1e-14 * jnp.abs(shift).max()


def draw(guidance, target, *, data=in_plane, steps=20, sampler: Any = None, x64=True, **options):
    schedule = tfg.from_alphas_cumprod(tfg.cosine_table(steps))
    model = data().denoiser(schedule, "x0")
    n, dtype = len(target[1]), jnp.float64 if x64 else jnp.float32
    start = jax.random.normal(jax.random.key(5), (n, model.shape[0]), dtype)
    given = {} if guidance is None else {"objective": tfg.objectives.linear(), "target": target}
    return tfg.sample(
        jax.random.key(0), model, guidance=guidance, start=(start, 1.0), sampler=sampler or tfg.DDPM(steps=steps),
        **given, **options,
    )  # fmt: skip


def asked(n=4, seed=7):
    rng = np.random.default_rng(seed)
    return jnp.asarray(3.0 * rng.standard_normal((n, 6))), jnp.asarray(rng.standard_normal(n))


@pytest.mark.parametrize(("data", "steps"), [(in_plane, 20), (two_lumps, 3)], ids=["gaussian", "mixture"])
def test_samples_of_look_ahead_stay_in_the_subspace(data, steps):
    out = draw(LOOK_AHEAD, asked(), data=data, steps=steps)
    assert float(tfg.optimize.off_support(out.x, jnp.asarray(basis(6, 2))).max()) < 1e-12


def test_naive_samples_leave_it_by_the_last_steps_guidance():
    """x_perp = h_1 / alpha_1 G_perp(x_1) exactly, the last step being free of noise: no blow-up with exact scores."""
    steps, (g, y) = 20, asked()
    out = draw(NAIVE, (g, y), steps=steps, record=tfg.Record(steps=(steps - 2,)))
    schedule = tfg.from_alphas_cumprod(tfg.cosine_table(steps))
    level, plane = schedule.level(1 / steps), basis(6, 2)
    x1 = out.info["x"][:, 0]
    x0 = level.alpha * (x1 @ plane) @ plane.T  # of N(0, P) on a VP schedule
    beta = level.alpha / (0.1**2 + level.sigma**2 * jnp.sum(g**2, axis=1))
    naive = (beta * (y - jnp.sum(g * x0, axis=1)))[:, None] * g
    across = np.eye(6) - plane @ plane.T
    expected = level.sigma**2 / level.alpha * naive @ across
    np.testing.assert_allclose(out.x @ across, expected, atol=1e-12)
    assert jnp.abs(expected).max() > 1e-3


@pytest.mark.parametrize(
    ("guidance", "sampler"),
    [(LOOK_AHEAD, tfg.DDPM(steps=20)), (NAIVE, tfg.DDPM(steps=20)), (LOOK_AHEAD, tfg.Heun(steps=20))],
    ids=["look-ahead", "naive", "heun"],
)
def test_no_strength_or_no_gradient_changes_no_bit(guidance, sampler):
    g, y = asked()
    plain = draw(None, (g, y), sampler=sampler, x64=False)
    none = draw(guidance.replace(beta_coef=0.0), (g, y), sampler=sampler, x64=False)
    flat = draw(guidance, (jnp.zeros_like(g), y), sampler=sampler, x64=False)
    np.testing.assert_array_equal(plain.x, none.x)
    np.testing.assert_array_equal(plain.x, flat.x)
    assert np.abs(draw(guidance, (g, y), sampler=sampler, x64=False).x - plain.x).max() > 0.1


@pytest.mark.parametrize("guidance", [LOOK_AHEAD, NAIVE], ids=["look-ahead", "naive"])
def test_only_ratios_to_the_noise_matter(guidance):
    g, y = asked()
    one = draw(guidance, (g, y)).x
    scaled = draw(guidance.replace(noise_std=0.7), (7.0 * g, 7.0 * y)).x
    np.testing.assert_allclose(one, scaled, atol=1e-11)


def test_constant_zero_is_zero_and_constants_are_the_formula_without_its_denominator():
    g, y = asked()
    for guidance in (tfg.GradientGuidance, tfg.NaiveGradientGuidance):
        off = draw(guidance(beta="constant", beta_coef=0.0), (g, y), x64=False)
        np.testing.assert_array_equal(off.x, draw(None, (g, y), x64=False).x)
    point, rng = Point(0.8, 0.6), np.random.default_rng(0)
    x, one, level = jnp.asarray(rng.standard_normal(6)), g[0], point.level(0.5)
    gap = jax.jit(lambda x: 1.3 - one @ in_plane().denoised(x, level).x0)
    for guidance, expected in (
        (tfg.GradientGuidance(beta="constant", beta_coef=0.3), -0.3 * 2.0 * gap(x) * jax.jit(jax.grad(gap))(x)),
        (tfg.NaiveGradientGuidance(beta="constant", beta_coef=0.3), 0.3 * gap(x) * one),
    ):
        shift, _ = score_shift(guidance, in_plane(), point, x, one, jnp.asarray(1.3))
        np.testing.assert_allclose(shift, expected, atol=1e-12)


def test_guidance_fades_where_the_gradient_is_small_against_the_noise():
    """The method's weak point: near a stationary point samples fall back to the prior."""
    g, y = asked()
    plain = draw(None, (g, y)).x
    unit = g / jnp.linalg.norm(g, axis=1, keepdims=True)
    reached = {}
    for ratio in (0.01, 10.0):
        wanted = y * 0.0 + ratio * 0.1 * 2.0  # asks for a step of 2 along the gradient
        reached[ratio] = float(jnp.abs(draw(LOOK_AHEAD, (ratio * 0.1 * unit, wanted)).x - plain).max())
    assert reached[0.01] < 2e-3 and reached[10.0] > 0.5


@pytest.fixture(scope="module")
def one_round():
    """Moments of 30,000 samples at T = 50 and 100 of a plane in three dimensions, in float32."""
    with jax.enable_x64(False):
        plane = basis(3, 2)
        g = jnp.asarray(0.41 * plane @ np.array([0.6, 0.8]) + 1.0 * np.linalg.qr(plane, "complete")[0][:, 2])
        found = {}
        for steps in (50, 100):
            model = analytic.in_subspace(plane, standard(2)).denoiser(
                tfg.from_alphas_cumprod(tfg.cosine_table(steps)), "x0"
            )
            n = 30_000
            x = tfg.sample(
                jax.random.key(1), model, guidance=LOOK_AHEAD, objective=tfg.objectives.linear(),
                target=(jnp.broadcast_to(g, (n, 3)), jnp.full(n, 1.3)), sampler=tfg.DDPM(steps=steps),
            ).x  # fmt: skip
            u = np.asarray(x, np.float64) @ plane
            along, beside = u @ [0.6, 0.8], u @ [-0.8, 0.6]
            found[steps] = along.mean(), along.var(), beside.var()
        return found


def test_one_round_samples_the_conditional_distribution(one_round):
    """mean = Pg y / (s^2 + |Pg|^2), var = s^2 / (s^2 + |Pg|^2) along Pg, and 1 beside, up to the bias of DDPM."""
    total = 0.1**2 + 0.41**2
    mean, along, beside = one_round[100]
    assert abs(mean - 0.41 * 1.3 / total) < 0.02
    assert abs(along - 0.1**2 / total) < 0.15 * 0.1**2 / total
    assert abs(beside - 1.0) < 0.08


def test_its_bias_halves_with_twice_the_steps(one_round):
    coarse, fine = (1.0 - one_round[steps][2] for steps in (50, 100))
    assert coarse > 0 and 1.4 < coarse / fine < 2.9


@pytest.mark.parametrize(
    ("guidance", "said"),
    [
        (lambda: tfg.GradientGuidance(noise_std=0.0), "noise_std=0. must be a finite number > 0"),
        (lambda: tfg.NaiveGradientGuidance(noise_std=-1.0), "noise_std=-1. must"),
        (lambda: tfg.GradientGuidance(beta_coef=-0.5), "beta_coef=-0.5"),
        (lambda: tfg.GradientGuidance(beta_coef=float("nan")), "beta_coef=nan"),
        (lambda: tfg.GradientGuidance(beta="paepr"), "beta='paepr' is unknown; choose one of paper, exact, constant"),  # type: ignore[arg-type]
        (lambda: tfg.NaiveGradientGuidance(beta="exact"), "beta='exact' is unknown; choose one of paper, constant"),  # type: ignore[arg-type]
        (lambda: tfg.GradientGuidance(noise_std=0.1, beta="constant"), "noise_std=0.1 has no effect"),
    ],
)
def test_bad_arguments(guidance, said):
    with pytest.raises(ValueError, match=said):
        draw(guidance(), asked())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g, y: g, r"target must be \(g, y\)"),
        (lambda g, y: (g[:, :3], y), r"target's g has shape \(4, 3\)"),
        (lambda g, y: (g, y[:, None]), r"target's y has shape \(4, 1\)"),
        (lambda g, y: (g.at[0, 0].set(jnp.nan), y), "target's g="),
    ],
)
def test_bad_targets(change, said):
    g, y = asked()
    model = in_plane().denoiser(tfg.VPLinear())
    with pytest.raises(ValueError, match=said):
        tfg.sample(
            jax.random.key(0), model, num_samples=4, guidance=LOOK_AHEAD, objective=tfg.objectives.linear(),
            target=change(g, y),
        )  # fmt: skip
