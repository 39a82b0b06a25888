"""The loss against the denoiser: a network that gives the exact target has loss 0 and denoises exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfg_jax import constructors, denoiser, schedules
from tfg_jax.training.diffusion import TARGETS, diffusion_loss, random_flip, stratified_times

CASES = [
    (schedules.VPCosine(), "v"),
    (schedules.VPCosine(), "eps"),
    (schedules.VPLinear(), "x0"),
    (schedules.RectifiedFlow(), "velocity"),
    (schedules.VPCosine(), "velocity"),
    (schedules.EDM(sigma_max=5.0), "v"),
]
X0 = np.random.default_rng(0).uniform(-1, 1, (4, 4, 1)).astype(np.float32)


def batch(size, image=X0, label=2):
    return {"image": np.tile(image, (size, 1, 1, 1)), "label": np.full(size, label, np.int32)}


def exact_network(schedule, prediction):
    """Batched network for data that is always X0: it reads the noise off x and returns the exact target."""

    def apply(params, x, t, label):
        level = schedule.level(t[:, None, None, None])
        eps = (x - level.alpha * X0) / level.sigma
        if prediction == "velocity":
            d_alpha, d_sigma = denoiser.path_velocity(schedule, level.t)
            return params + d_alpha * X0 + d_sigma * eps
        return params + TARGETS[prediction](level, jnp.broadcast_to(X0, x.shape), eps)

    return apply


@pytest.mark.parametrize("schedule, prediction", CASES)
def test_exact_network_has_no_loss_and_denoises_exactly(schedule, prediction):
    apply = exact_network(schedule, prediction)
    loss_fn = diffusion_loss(apply, schedule, prediction, num_classes=10, network_time=denoiser.unit_time, t_min=0.05)
    loss, metrics = jax.jit(loss_fn)(0.0, batch(8), jax.random.key(0))
    assert loss < 1e-5
    assert set(metrics) == {"loss_t1", "loss_t2", "loss_t3", "loss_t4"}
    model = constructors.from_fn(
        lambda p, x, t, c: apply(p, x[None], t[None], c)[0], 0.0, schedule, prediction=prediction, shape=X0.shape
    )
    eps = np.random.default_rng(1).normal(size=X0.shape).astype(np.float32)
    level = schedule.level(0.6)
    denoised = model(level.alpha * X0 + level.sigma * eps, 0.6)
    np.testing.assert_allclose(denoised.x0, X0, atol=2e-5)
    np.testing.assert_allclose(denoised.eps, eps, atol=2e-5)


def test_loss_is_the_mean_square_and_weighting_scales_it():
    schedule = schedules.VPCosine()
    options = {"num_classes": 10, "network_time": denoiser.unit_time, "t_min": 0.05}
    apply = exact_network(schedule, "v")
    plain, _ = jax.jit(diffusion_loss(apply, schedule, "v", **options))(0.5, batch(8), jax.random.key(0))
    np.testing.assert_allclose(plain, 0.25, rtol=1e-4)
    weighted = diffusion_loss(apply, schedule, "v", weighting=lambda level: level.t, **options)
    loss, _ = jax.jit(weighted)(0.5, batch(4096), jax.random.key(0))
    np.testing.assert_allclose(loss, 0.25 * (0.05 + 0.999) / 2, rtol=1e-3)


def test_network_time_is_in_thousands_by_default():
    seen = []

    def apply(params, x, t, label):
        seen.append(t)
        return x

    diffusion_loss(apply, schedules.VPCosine(), "v", num_classes=10)({}, batch(100), jax.random.key(0))
    np.testing.assert_array_equal(np.floor(np.asarray(seen[0]) / 9.99), np.arange(100))


@pytest.mark.parametrize("p_uncond, low, high", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.15, 0.12, 0.18)])
def test_labels_are_dropped_to_the_null_class(p_uncond, low, high):
    seen = []

    def apply(params, x, t, label):
        seen.append(np.asarray(label))
        return x

    loss_fn = diffusion_loss(apply, schedules.VPCosine(), "v", num_classes=10, p_uncond=p_uncond)
    loss_fn({}, batch(4000), jax.random.key(0))
    assert set(seen[0]) <= {2, 10}
    assert low <= np.mean(seen[0] == 10) <= high


def test_a_teacher_gives_the_targets_of_dropped_labels_alone():
    def apply(params, x, t, label):
        return jnp.where((label == 10)[:, None, None, None], params, 0.0) * jnp.ones_like(x)

    def teacher(x, t, label):
        return jnp.broadcast_to(label[:, None, None, None] / 4.0, x.shape)  # the labels are 2

    options = {"num_classes": 10, "p_uncond": 0.5, "teacher": teacher}
    loss_fn = jax.jit(diffusion_loss(apply, schedules.VPCosine(), "v", **options))
    gradient = jax.jit(jax.grad(lambda params: loss_fn(params, batch(512), jax.random.key(0))[0]))
    np.testing.assert_allclose(gradient(0.5), 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient(1.5), 2.0 * 0.5, atol=0.15)  # 2 (1.5 - 0.5), of about half of the batch


def test_stratified_times_hit_every_part_once_and_are_uniform():
    t = np.asarray(stratified_times(jax.random.key(0), 64, 0.1, 0.9))
    np.testing.assert_array_equal(np.floor((t - 0.1) / 0.8 * 64), np.arange(64))
    first = jax.vmap(lambda key: stratified_times(key, 2, 0.0, 1.0)[0])(jax.random.split(jax.random.key(1), 4000))
    quantiles = np.quantile(first, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quantiles, [0.125, 0.25, 0.375], atol=0.02)


def test_flips_mirror_about_half_of_the_allowed_images():
    images = jnp.tile(jnp.asarray(X0), (2000, 1, 1, 1))
    allowed = jnp.arange(2000) < 1000
    flipped = np.asarray(random_flip(jax.random.key(0), images, allowed))
    same, mirrored = (flipped == X0).all((1, 2, 3)), (flipped == X0[:, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all() and same[1000:].all()
    assert 440 < mirrored[:1000].sum() < 560


@pytest.mark.parametrize(
    "options, message",
    [
        ({"prediction": "score"}, "prediction='score'"),
        ({"p_uncond": 1.5}, "p_uncond=1.5"),
        ({"flip_classes": (10,)}, "flip_classes"),
        ({"p_uncond": 0.0, "teacher": lambda x, t, label: x}, "teacher has no effect with p_uncond=0"),
    ],
)
def test_bad_arguments(options, message):
    options = {"prediction": "v", "num_classes": 10} | options
    with pytest.raises(ValueError, match=message):
        diffusion_loss(lambda *a: a[1], schedules.VPCosine(), **options)
