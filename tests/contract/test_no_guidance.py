"""No guidance, said in every way: absent terms are bit-identical to the plain sampler, a traced 0 is to round-off."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import METHODS, D

import tfg_jax as tfg

STEPS = 3
CLIP = tfg.Clip(-0.9, 0.9)


def draw(n_recur=1, dtype=jnp.float32, **options):
    tape = jax.tree.map(lambda a: a.astype(dtype), problems.tape(STEPS, n_recur))
    model = problems.denoiser(problems.schedules()["vp_linear"])
    return tfg.sample(
        jax.random.key(3), model, num_samples=2, noise=tape,
        sampler=tfg.DDIM(steps=STEPS, grid=tfg.UniformLogSNR(3.0, -5.0)), **options,
    )  # fmt: skip


@pytest.mark.parametrize("clip", [None, CLIP], ids=["plain", "clip"])
def test_absent_terms_are_bit_identical(clip):
    given = problems.arguments("tfg")
    none = draw(clip=clip)
    unguided = draw(clip=clip, guidance=tfg.Unguided())
    absent = draw(clip=clip, **{**given, "guidance": tfg.TFG(rho=None, mu=None)})
    np.testing.assert_array_equal(none.x, unguided.x)
    np.testing.assert_array_equal(none.x, absent.x)
    assert none.x.shape == (2, D) and bool(none.status.ok.all())
    assert not np.any(absent.cost.pullbacks) and not np.any(absent.cost.objective)


def test_absent_terms_with_recurrence_are_bit_identical():
    given = problems.arguments("tfg")
    unguided = draw(n_recur=2, guidance=tfg.Unguided(n_recur=2))
    absent = draw(n_recur=2, **{**given, "guidance": tfg.TFG(rho=None, mu=None, n_recur=2)})
    np.testing.assert_array_equal(unguided.x, absent.x)


@pytest.mark.parametrize("method", METHODS)
def test_strength_zero_with_a_clip(method, x64):
    """MPGD keeps the network's own noise: its strength 0 with a clip is another sampler, the documented exception."""
    given = problems.arguments(method, 0.0)
    n_recur = given["guidance"].n_recur
    plain = draw(n_recur, jnp.float64, clip=CLIP, guidance=tfg.Unguided(n_recur=n_recur))
    off = jnp.abs(draw(n_recur, jnp.float64, clip=CLIP, **given).x - plain.x).max()
    assert off > 1e-3 if method == "mpgd" else off < 1e-12


def test_the_clip_binds():
    assert not np.array_equal(draw(clip=CLIP).x, draw().x)
