"""Transforms inside the sampler: distributions in closed form, memory that moves once a step, other guidance on top."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_classes import T_NEXT, T, network, triangle

import tfg_jax as tfg
from scripts.cfg import guided_distributions
from tfg_jax.samplers.base import straight

ONE = jnp.zeros(1, jnp.int32)


@pytest.mark.parametrize("gamma", [2.0, 3.0])
def test_distributions_of_guided_gaussians(gamma, x64):
    """Neither sampler reaches the tilted distribution; each has its own."""
    grid = tfg.Karras(0.002)
    ode = guided_distributions.sampled_variance(gamma, tfg.Heun(steps=300, grid=grid))
    sde = guided_distributions.sampled_variance(gamma, tfg.DDPM(steps=1000, grid=grid))
    exact = {2.0: (0.5, 0.58333, 0.66667), 3.0: (0.25, 0.3875, 0.5)}[gamma]
    distributions = (
        guided_distributions.ode_variance,
        guided_distributions.sde_variance,
        guided_distributions.tilted_variance,
    )
    np.testing.assert_allclose([distribution(gamma) for distribution in distributions], exact, rtol=1e-4)
    np.testing.assert_allclose(ode, exact[0], rtol=1e-3)
    np.testing.assert_allclose(sde, exact[1], rtol=0.02)


def test_one_step_of_cfgpp_is_a_step_of_cfg(x64):
    """At the scale lambda S / (S - S'), S = sigma / alpha."""
    model = network()
    for t, t_next, lam in ((T, T_NEXT, 0.6), (0.9, 0.5, 0.3), (0.2, 0.0, 1.0)):
        now, next = (model.schedule.level(time) for time in (t, t_next))
        tau, tau_next = now.sigma / now.alpha, next.sigma / next.alpha

        def step(guided, start=t, grid=tfg.Explicit(jnp.array([t, t_next]))):
            x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3)))
            sampler = tfg.DDIM(steps=1, eta=None, grid=grid)
            return tfg.sample(
                jax.random.key(0), guided, start=(x, start), cond=jnp.array([0, 2]), sampler=sampler
            ).x  # fmt: skip

        expected = step(tfg.CFG(model, tfg.w_from_scale(lam * tau / (tau - tau_next))))
        np.testing.assert_allclose(step(tfg.CFGPlusPlus(model, lam)), expected, atol=1e-12)


def test_cfgpp_keeps_its_noise_under_a_clip(x64):
    model, clip = network(), tfg.Clip(-0.1, 0.1)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3)))
    sampler = tfg.DDIM(steps=1, eta=None, grid=tfg.Explicit(jnp.array([T, T_NEXT])))
    out = tfg.sample(jax.random.key(0), tfg.CFGPlusPlus(model, 0.6), start=(x, T), cond=ONE, sampler=sampler, clip=clip)
    level = model.schedule.level(T_NEXT)
    guided = tfg.CFG(model, -0.4)(x[0], T, ONE[0]).x0
    expected = level.alpha * jnp.clip(guided, -0.1, 0.1) + level.sigma * model(x[0], T, None).eps
    np.testing.assert_allclose(out.x[0], expected, atol=1e-12)


TIMES = (0.9, 0.6, 0.35, 0.15)


def by_hand(model, x, advance, *rest):
    """Steps of ``advance(model at its memory, x, t, t_next, *rest) -> (x, memory)``; rest holds one entry a step."""
    memory, advance = model.begin(x), jax.jit(advance)
    for t, t_next, *each in zip(TIMES[:-1], TIMES[1:], *rest, strict=True):
        x, memory = advance(model.at(memory), x, t, t_next, *each)
    return x


def start(n=2):
    return jnp.asarray(np.random.default_rng(3).standard_normal((n, 3)))


def run(model, sampler, cond, **options):
    return tfg.sample(
        jax.random.key(0), model, start=(start(len(cond)), TIMES[0]), cond=cond,
        sampler=sampler(steps=3, grid=tfg.Explicit(jnp.array(TIMES))), **options,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["apg", "zero", "interval"])
def test_memory_moves_once_a_step_and_rests_within_it(kind, x64):
    """Heun's second evaluation sees the same memory as its first."""
    model = {
        "apg": lambda m: tfg.APG(m, 2.0, momentum=-0.6, eta=0.2),
        "zero": lambda m: tfg.CFGZeroStar(m, 2.0, zero_steps=1),
        "interval": lambda m: tfg.GuidanceInterval(tfg.APG(m, 2.0, momentum=-0.6), -4.0, 0.0),
    }[kind](network())
    cond = jnp.array([0, 2])

    def heun(bound, x, t, t_next, label):
        now, next = (bound.schedule.level(time) for time in (t, t_next))
        denoised = bound(x, t, label)
        ahead = straight(denoised, next)
        gradient = 0.5 * (denoised.eps + bound(ahead, t_next, label).eps)
        return next.alpha * (
            x / now.alpha + (next.sigma / next.alpha - now.sigma / now.alpha) * gradient
        ), denoised.memory

    out = run(model, tfg.Heun, cond).x
    for x, label, got in zip(start(), cond, out, strict=True):
        np.testing.assert_allclose(got, by_hand(model, x, heun, [label] * 3), atol=1e-11)


def test_memory_rests_over_recurrences(x64):
    """Both recurrences of a step see one memory; the last one moves it."""
    model, cond = tfg.APG(network(), 2.0, momentum=-0.6), jnp.array([0, 2])
    renoise = jnp.asarray(np.random.default_rng(4).standard_normal((2, 3, 2, 3)))
    sampler = lambda **o: tfg.DDIM(eta=None, **o)  # noqa: E731
    noise = tfg.NoiseTape(start(), renoise=renoise)
    out = run(model, sampler, cond, guidance=tfg.Unguided(n_recur=2), noise=noise).x

    def step(bound, x, t, t_next, label, z):
        now, next = (bound.schedule.level(time) for time in (t, t_next))
        ahead = straight(bound(x, t, label), next)
        ratio = now.alpha / next.alpha
        back = ratio * ahead + jnp.sqrt(now.sigma**2 - ratio**2 * next.sigma**2) * z
        denoised = bound(back, t, label)
        return straight(denoised, next), denoised.memory

    for x, label, draws, got in zip(start(), cond, renoise, out, strict=True):
        np.testing.assert_allclose(got, by_hand(model, x, step, [label] * 3, draws[:, 0]), atol=1e-11)


def test_training_free_guidance_sees_the_guided_model(x64):
    """TFG's network gradient goes through both branches of CFG."""
    model, cond = tfg.CFG(network(), 1.5), jnp.array([0, 2])
    objective = tfg.objectives.from_fn(_near)
    sampler = tfg.DDIM(steps=1, eta=None, grid=tfg.Explicit(jnp.array([T, T_NEXT])))
    out = tfg.sample(
        jax.random.key(0), model, start=(start(), T), cond=cond, sampler=sampler, objective=objective,
        target=jnp.ones((2, 3)), guidance=tfg.TFG(rho=0.4, mu=None),
    )  # fmt: skip
    now, next = (model.schedule.level(time) for time in (T, T_NEXT))
    for x, label, got in zip(start(), cond, out.x, strict=True):
        gradient = jax.grad(lambda x, label=label: _near(None, model(x, T, label).x0, jnp.ones(3)))(x)
        # One step: rho_t = rho; the shift of the TFG paper is rho_t grad / sqrt(a_t / a_next), VP schedule.
        expected = straight(model(x, T, label), next) + 0.4 * gradient / jnp.sqrt(now.abar / next.abar)
        np.testing.assert_allclose(got, expected, atol=1e-11)
    assert np.asarray(out.cost.forwards).tolist() == [2, 2] and np.asarray(out.cost.pullbacks).tolist() == [2, 2]


def _near(_, x0, target):
    return -jnp.sum((x0 - target) ** 2)


def test_classifier_guidance_of_both_models_is_classifier_free_guidance(x64):
    """Sampled with exact scores: the noisy classifier guides the conditional model with w, the other with w + 1."""
    data = triangle(1.5, 0.8)
    model = data.class_denoiser(tfg.VPLinear())
    cond, w = jnp.array([0, 2]), 1.4
    x = jnp.asarray(np.random.default_rng(3).standard_normal((2, 2)))

    def draw(model, **options):
        return tfg.sample(jax.random.key(1), model, start=(x, 0.9), sampler=tfg.DDIM(steps=4), **options).x

    by_class = {"objective": tfg.analytic.component_objective(data), "target": cond}
    free = draw(tfg.CFG(model, w), cond=cond)
    np.testing.assert_allclose(draw(model, cond=cond, guidance=tfg.ClassifierGuidance(w), **by_class), free, atol=1e-10)
    np.testing.assert_allclose(draw(model, guidance=tfg.ClassifierGuidance(w + 1.0), **by_class), free, atol=1e-10)


def test_interval_bounds(x64):
    """Everywhere is the guided model, nowhere the conditional one, and a weight by log-SNR does the same as bounds."""
    model, cond = network(), jnp.array([0, 2])
    ddim = lambda **o: tfg.DDIM(eta=None, **o)  # noqa: E731
    guided = run(tfg.CFG(model, 1.5), ddim, cond)
    interval = lambda *bounds: run(tfg.GuidanceInterval(tfg.CFG(model, 1.5), *bounds), ddim, cond)  # noqa: E731
    np.testing.assert_allclose(interval().x, guided.x, atol=1e-12)
    np.testing.assert_allclose(interval(1.0, 0.0).x, run(model, ddim, cond).x, atol=1e-12)
    assert np.asarray(interval(1.0, 0.0).cost.forwards).tolist() == [3, 3] and np.asarray(
        interval().cost.forwards
    ).tolist() == [6, 6]
    log_snr = np.asarray(model.schedule.level(jnp.array(TIMES)).log_snr)
    middle = interval(log_snr[1] - 0.1, log_snr[1] + 0.1)
    weight = jax.tree_util.Partial(_between, log_snr[1])
    np.testing.assert_allclose(middle.x, run(tfg.CFG(model, weight), ddim, cond).x, atol=1e-12)
    assert np.asarray(middle.cost.forwards).tolist() == [4, 4] and np.abs(middle.x - guided.x).max() > 1e-3


def _between(centre, log_snr):
    return jnp.where(jnp.abs(log_snr - centre) < 0.1, 1.5, 0.0)


def test_samples_are_independent_and_have_their_own_weights():
    """Sample i of a batch is sample i alone with the same key, with its own weight and negative condition."""
    model, cond = network(), jnp.array([0, 2, 1])
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
    w, negative = jnp.array([0.0, 1.0, 3.0]), jnp.array([1, 1, 0])

    def draw(w, negative, cond, **options):
        guided = tfg.DynamicThresholding(tfg.CFG(model, w, negative=negative), 0.9)
        return tfg.sample(jax.random.key(2), guided, cond=cond, sampler=tfg.DDIM(steps=4), **options).x

    every = draw(tfg.PerSample(w), tfg.PerSample(negative), cond, chunk=2)
    for i in range(3):
        alone = draw(w[i], negative[i], cond[i : i + 1], index_offset=i)
        np.testing.assert_allclose(alone[0], every[i], rtol=1e-5, atol=1e-5)


def test_weights_are_traced_and_can_be_differentiated(x64):
    traced = []

    def apply(params, x, t, cond):
        traced.append(1)
        return jnp.sin(x + params[cond])

    model = dataclasses.replace(network(), apply=apply, params=jnp.arange(4.0))

    def total(w):
        return run(tfg.CFG(model, w), lambda **o: tfg.DDIM(eta=None, **o), jnp.array([0, 2])).x.sum()

    first = total(0.5)
    before = len(traced)
    assert total(0.7) != first and len(traced) == before
    gradient = jax.grad(total)(0.5)
    np.testing.assert_allclose(gradient, (total(0.5 + 1e-6) - total(0.5 - 1e-6)) / 2e-6, rtol=1e-6)


def test_inversion_follows_the_guided_flow(x64):
    """Walked with the guided model, a sample comes back; the network calls are counted."""
    model = tfg.GuidanceInterval(tfg.CFG(triangle(1.0).class_denoiser(tfg.VPLinear()), 0.7), -2.0, 40.0)
    x = jnp.asarray(np.random.default_rng(5).standard_normal((2, 2)))
    cond = jnp.array([0, 2])
    noise = tfg.invert(model, x, cond=cond, steps=40)
    back = tfg.sample(jax.random.key(0), model, start=(noise.x, 1.0), cond=cond, sampler=tfg.Heun(steps=40))
    np.testing.assert_allclose(back.x, x, atol=5e-3)
    assert 80 < np.asarray(noise.cost.forwards)[0] < 160
