"""Problems, measurements and objectives of the inverse task, on a model that needs no training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import objectives
from tfg_jax.tasks import PROBLEMS, InverseTask, inverse_preset, measure_images, problem_operator, run_chunked
from tfg_jax.tasks.fashion_mnist.presets import INVERSE_PRESETS

SHAPE = (8, 8, 1)
KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).uniform(-1, 1, size=(5, *SHAPE)).astype(np.float32)


def prior(params, x, t, cond):
    """eps of standard normal data under a VP schedule is sigma x, about."""
    return params * x


@pytest.fixture(scope="module")
def task():
    model = tfg.from_fn(prior, jnp.asarray(0.7), tfg.VPCosine(), prediction="eps", shape=SHAPE)
    return InverseTask(model, problem_operator("sr2", SHAPE, KEY), 0.05, tfg.DDIM(steps=3))


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_fit_images_and_their_size(name):
    operator = problem_operator(name, (16, 24, 3), KEY)
    y = jax.eval_shape(operator, jax.ShapeDtypeStruct((16, 24, 3), np.float32))
    assert y.shape[-1] == 3
    with pytest.raises(ValueError, match="was made for"):
        operator(jnp.zeros((24, 16, 3)))


def test_an_unknown_problem_is_named():
    with pytest.raises(ValueError, match="problem='sharpen' is unknown; choose one of box, random, sr2"):
        problem_operator("sharpen", SHAPE, KEY)
    with pytest.raises(ValueError, match="factor=4 does not divide 10 x 8"):
        problem_operator("sr4", (10, 8, 1), KEY)


def test_the_noise_of_an_image_is_its_own_whatever_comes_after(task):
    whole, std = measure_images(task.operator, IMAGES, KEY, noise_std=0.3)
    part, _ = measure_images(task.operator, IMAGES[:2], KEY, noise_std=0.3)
    assert std == 0.3
    np.testing.assert_allclose(part, whole[:2], rtol=1e-6)
    noise = whole - IMAGES.reshape(5, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    assert abs(noise.std() - 0.3) < 0.06 and (noise[0] != noise[1]).all()


def test_photon_counts_say_how_noisy_they_are(task):
    images = np.zeros((40, *SHAPE), np.float32)
    y, std = measure_images(task.operator, images, KEY, peak=50.0)
    assert std == pytest.approx(np.sqrt(2.0 / 50.0), rel=0.05) and y.std() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("noise", [{}, {"noise_std": 0.1, "peak": 9.0}])
def test_one_kind_of_noise_is_needed(noise, task):
    with pytest.raises(ValueError, match="give one of them"):
        measure_images(task.operator, IMAGES, KEY, **noise)


def test_every_preset_is_usable_and_has_its_objective(task):
    for name, guidance in INVERSE_PRESETS.items():
        assert inverse_preset(name) is guidance
    assert isinstance(task.objective(inverse_preset("tfg")), objectives.ResidualNorm)
    assert isinstance(task.objective(None), objectives.ResidualNorm)
    for name in ("pigdm", "dflow"):
        assert task.objective(inverse_preset(name)).noise_std == 0.05
    photons = dataclasses.replace(task, peak=30.0)
    assert isinstance(photons.objective(inverse_preset("controls")), objectives.PoissonLogLikelihood)
    assert photons.objective(inverse_preset("dps")).squared and not photons.objective(inverse_preset("mpgd")).squared
    assert task.objective(inverse_preset("dps")).noise_std == 1.0
    with pytest.raises(ValueError, match="name='magic' has no preset"):
        inverse_preset("magic")
    with pytest.raises(ValueError, match="conditional=True has no effect"):
        task.sample(KEY, np.zeros((1, 4, 4, 1), np.float32), None, conditional=True)


def test_chunks_of_measurements_and_guidance_that_helps(task):
    """The last chunk is padded with measurements; samples explain theirs far better than unguided ones."""
    y, _ = measure_images(task.operator, IMAGES, KEY, noise_std=0.05)
    off = []
    source = tfg.DFlow(tfg.TruncatedSolve(1.0, 3, "euler"), iterations=3, line_search=3)
    for guidance in (tfg.PiGDM(), source, None):
        parts = dict(run_chunked(task, KEY, y, guidance, chunk=3))
        assert list(parts) == [range(0, 3), range(3, 5)]
        x = np.concatenate([part.x for part in parts.values()])
        assert np.concatenate([part.info["summary"] for part in parts.values()]).shape == (
            5, 1 if guidance is source else 3
        )  # fmt: skip
        off.append(np.abs(x.reshape(5, 4, 2, 4, 2, 1).mean(axis=(2, 4)) - y).mean())
    assert max(off[:2]) < 0.5 * off[2]
