"""Published methods against their corners of the TFG space: the exact factor between the terms they add in one step.

One step from the same noisy sample, eta = 0, no clip; a = abar, alpha = a / a_next (Ye et al., arXiv 2409.15761).
"""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import D

import tfg_jax as tfg
from tfg_jax import special_cases

K = 0.3
TIMES = (0.6, 0.35)
N_MC = 3


@pytest.fixture
def step(x64):
    """``guidance -> (displacement added by it (2, D), a, a_next, |f| at the denoised estimate)``."""
    schedule = problems.schedules()["vp_linear"]
    model = problems.denoiser(schedule)
    tape = problems.tape(1, n_mc=N_MC)
    level = schedule.level(jnp.asarray(TIMES))
    given = problems.arguments("dps")
    sampler = tfg.DDIM(steps=1, eta=None, grid=tfg.Explicit(jnp.asarray(TIMES)))

    def draw(guidance, clip=None):
        objective = {} if guidance is None else {name: given[name] for name in ("objective", "target")}
        out = tfg.sample(
            jax.random.key(0),
            model,
            num_samples=2,
            sampler=sampler,
            noise=tape,
            guidance=guidance,
            clip=clip,
            **objective,
        )
        return np.asarray(out.x)

    x0 = jax.vmap(lambda x: problems.posterior_mean(x, level.alpha[0], level.sigma[0]))(tape.initial)
    f = jax.vmap(given["objective"])(x0, given["target"])
    a, p = np.asarray(level.abar)
    return draw, lambda guidance: draw(guidance) - draw(None), a, p, np.abs(np.asarray(f))[:, None]


def test_published_methods_and_their_corners(step):
    _, term, a, p, f = step
    tfg_term = term(special_cases.dps(K))
    assert np.abs(tfg_term).min() > 1e-4
    np.testing.assert_allclose(
        tfg_term / term(tfg.DPS(strength=K)), np.broadcast_to(f / np.sqrt(a / p), (2, D)), rtol=1e-9
    )
    np.testing.assert_array_equal(tfg_term, term(special_cases.freedom(K)))  # one step: every structure is the mean
    np.testing.assert_allclose(tfg_term / term(tfg.FreeDoM(strength=K)), 1.0 / np.sqrt(a / p), rtol=1e-9)
    smooth = term(special_cases.lgd(K, n_mc=N_MC)) / term(tfg.LGD(strength=K, n_mc=N_MC))
    np.testing.assert_allclose(smooth, N_MC / np.sqrt(a / p), rtol=1e-9)
    forward = term(tfg.UGD(strength=K, n_iter=1)) / tfg_term
    expected = np.sqrt(1 - a) * (np.sqrt(1 - a) * np.sqrt(p / a) - np.sqrt(1 - p)) * np.sqrt(a / p)
    np.testing.assert_allclose(forward, expected, rtol=1e-9)
    both = term(special_cases.ugd(K, 0.7 * K, n_iter=1)) - tfg_term
    np.testing.assert_allclose(both, term(special_cases.mpgd(0.7 * K)), atol=1e-14)


def test_mpgd_is_its_corner_without_a_clip_only(step):
    draw, _, _, _, _ = step
    corner, published = special_cases.mpgd(K), tfg.MPGD(strength=K)
    assert np.abs(draw(corner) - draw(published)).max() < 1e-13
    clip = tfg.Clip(-0.2, 0.2)
    assert np.abs(draw(corner, clip) - draw(published, clip)).max() > 1e-2
