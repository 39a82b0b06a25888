"""Measurement operators: exact adjoints and inverses, what each one does to an image, noise, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import objectives, operators

SHAPE = (12, 8, 2)
KEY = jax.random.key(0)

LINEAR = {
    "box": lambda: operators.box_inpainting(SHAPE, (5, 4)),
    "random": lambda: operators.random_inpainting(KEY, SHAPE, 0.7),
    "average x2": lambda: operators.super_resolution(SHAPE, 2),
    "bicubic x4": lambda: operators.super_resolution(SHAPE, 4, "bicubic"),
    "gaussian blur": lambda: operators.gaussian_blur(SHAPE, 1.3),
    "motion blur": lambda: operators.motion_blur(SHAPE, 5.0, 30.0),
    "matrix": lambda: operators.matrix(np.random.default_rng(1).normal(size=(3, 5))),
}
NONLINEAR = {
    "dynamic range": lambda: operators.dynamic_range(SHAPE, 2.0),
    "phase retrieval": lambda: operators.phase_retrieval(SHAPE, 2.0),
}
every_linear = pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
every_operator = pytest.mark.parametrize("make", [*LINEAR.values(), *NONLINEAR.values()], ids=[*LINEAR, *NONLINEAR])


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def image(seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=SHAPE))


@every_linear
def test_the_adjoint_is_exact(make, x64):
    """<A x, y> = <x, A^T y>; the system of A A^T is solved exactly; conjugate gradients of a plain function agree."""
    operator = make()
    x = draw(operator.shape)
    y = draw(jax.eval_shape(operator, x).shape, 1)

    @jax.jit
    def both(operator, x, y):
        back = operator.adjoint(y)
        solved = operator.gram_solve(0.7 * operator(back) + 0.01 * y, 0.7, 0.01)
        gradients = [operators.measurement_gradient(f, x, y, 0.5, 0.04) for f in (operator, lambda x: operator(x))]
        return jnp.vdot(operator(x), y), jnp.vdot(x, back), solved, gradients

    forth, back, solved, (exact, by_steps) = both(operator, x, y)
    np.testing.assert_allclose(forth, back, rtol=1e-12)
    np.testing.assert_allclose(solved, y, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(by_steps, exact, atol=1e-3 * float(jnp.abs(exact).max()))


def test_a_nonlinear_operator_is_linearized_where_it_stands(x64):
    """Clipped entries say nothing; the others are scaled by the gain."""
    operator, x = operators.dynamic_range(SHAPE, 2.0), image()
    residual = draw(SHAPE, 1)
    gradient = operators.measurement_gradient(operator, x, residual, 0.5, 0.04)
    seen = jnp.abs(2.0 * x) < 1.0
    np.testing.assert_allclose(
        gradient, jnp.where(seen, 2.0 * residual / (0.5 * 4.0 + 0.04), 0.0), rtol=1e-6, atol=1e-9
    )


@every_operator
def test_operators_are_frozen_pytrees_of_one_sample(make):
    """Leaves are arrays, vmap maps samples, float32 stays float32, gradients are finite."""
    operator = make()
    assert all(hasattr(leaf, "dtype") or isinstance(leaf, float) for leaf in jax.tree.leaves(operator))
    xs = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, size=(3, *operator.shape)), jnp.float32)

    @jax.jit
    def all_at_once(operator, xs):
        gradient = jax.grad(lambda x: jnp.sum(operator(x) ** 2))(xs[0])
        return jax.vmap(operator)(xs), operator(xs[1]), gradient

    ys, alone, gradient = all_at_once(operator, xs)
    np.testing.assert_allclose(ys[1], alone, rtol=2e-4, atol=2e-5)
    assert ys.dtype == jnp.float32
    assert bool(jnp.isfinite(gradient).all()) and float(jnp.abs(gradient).max()) > 0


@every_operator
def test_images_of_another_shape_are_refused_also_under_jit(make):
    operator = make()
    wrong = jnp.zeros((*operator.shape[:-1], operator.shape[-1] + 1))
    for call in (operator, jax.jit(lambda x: operator(x))):
        with pytest.raises(ValueError, match=r"x0 has shape .* was made for .*; make the operator for this shape"):
            call(wrong)
    with pytest.raises(ValueError, match="one sample"):
        operator(jnp.zeros((4, *operator.shape)))
    if hasattr(operator, "adjoint"):
        for call in (operator.adjoint, lambda y: operator.gram_solve(y, 1.0, 1.0)):
            with pytest.raises(ValueError, match="y has shape"):
                call(jnp.zeros((99,)))


def test_inpainting_hides_what_it_should():
    x = image()
    box = operators.box_inpainting(SHAPE, (4, 3), corner=(2, 1))
    y = np.asarray(box(x))
    assert (y[2:6, 1:4] == 0).all() and (y != 0).sum() == (12 * 8 - 12) * 2
    centred = operators.box_inpainting(SHAPE, 4)
    assert np.asarray(centred.mask)[4:8, 2:6].sum() == 0 and np.asarray(centred.mask).sum() == (96 - 16) * 2
    scattered = np.asarray(operators.random_inpainting(KEY, SHAPE, 0.7).mask)
    assert scattered[..., 0].sum() == 96 - 67 and (scattered[..., 0] == scattered[..., 1]).all()
    again = operators.random_inpainting(KEY, SHAPE, 0.7).mask
    np.testing.assert_array_equal(scattered, again)
    assert (scattered != np.asarray(operators.random_inpainting(jax.random.key(1), SHAPE, 0.7).mask)).any()


def test_super_resolution_averages_blocks_or_keeps_cubics(x64):
    x = image()
    averaged = operators.super_resolution(SHAPE, 4)(x)
    np.testing.assert_allclose(averaged[1, 1], np.asarray(x)[4:8, 4:8].mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(averaged, np.asarray(x).reshape(3, 4, 2, 4, 2).mean(axis=(1, 3)), rtol=1e-12)
    resized = jax.image.resize(x, (6, 4, 2), "cubic", antialias=True)
    np.testing.assert_allclose(operators.super_resolution(SHAPE, 2, "bicubic")(x), resized, atol=1e-9)


def test_blurs_keep_the_mean_and_spread_a_point(x64):
    flat = jnp.full(SHAPE, 0.3)
    point = jnp.zeros(SHAPE).at[6, 4, 0].set(1.0)
    for operator in (operators.gaussian_blur(SHAPE, 1.0, 2), operators.motion_blur(SHAPE, 5.0, 90.0)):
        np.testing.assert_allclose(operator(flat), flat, rtol=1e-10)
        spread = operator(point)
        assert float(spread.sum()) == pytest.approx(1.0) and float(jnp.abs(spread[..., 1]).max()) < 1e-12
    weights = np.exp(-0.5 * np.arange(-2, 3) ** 2.0)
    weights /= weights.sum()
    blurred = operators.gaussian_blur(SHAPE, 1.0, 2)(point)
    np.testing.assert_allclose(blurred[4:9, 2:7, 0], np.outer(weights, weights), rtol=1e-10)
    # a vertical line of five pixels
    moved = np.asarray(operators.motion_blur(SHAPE, 5.0, 90.0)(point))[:, 4, 0]
    np.testing.assert_allclose(moved[5:8], 0.25, rtol=0.05)
    assert moved[4] == pytest.approx(moved[8]) and moved[:4].max() < 1e-12
    # what is beyond the border is what is before it
    ramp = jnp.broadcast_to(jnp.arange(12.0)[:, None, None], SHAPE)
    edge = operators.gaussian_blur(SHAPE, 1.0, 1)(ramp)[0, 4, 0]
    assert float(edge) == pytest.approx(2.0 * weights[1] / weights[1:4].sum())


def test_convolution_is_circular_and_not_mirrored(x64):
    kernel = np.zeros((3, 3))
    kernel[0, 1] = 1.0  # the weight above the centre moves the image up
    x = image()
    np.testing.assert_allclose(operators.convolution(SHAPE, kernel)(x), jnp.roll(x, -1, axis=0), atol=1e-12)


def test_motion_kernels_are_lines():
    flat = operators.motion_kernel(5.0)
    assert flat.shape == (5, 5) and flat.sum() == pytest.approx(1.0)
    assert flat[2].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(operators.motion_kernel(5.0, 90.0), flat.T, atol=1e-12)
    slanted = operators.motion_kernel(7.0, 45.0)
    assert slanted[1, 5] > 0 and slanted[5, 1] > 0 and slanted[1, 1] == 0  # counter-clockwise: up on the right


def test_dynamic_range_clips(x64):
    x = image()
    np.testing.assert_allclose(operators.dynamic_range(SHAPE, 3.0)(x), np.clip(3.0 * np.asarray(x), -1, 1), rtol=1e-12)


def test_phase_retrieval_loses_shifts_on_black_and_keeps_energy(x64):
    """Parseval on the brightness; the half-turned image has the same magnitudes."""
    operator = operators.phase_retrieval(SHAPE, 2.0)
    x = image()
    y = operator(x)
    assert y.shape == (24, 16, 2)
    np.testing.assert_allclose(jnp.sum(y**2), jnp.sum((0.5 * (x + 1)) ** 2), rtol=1e-12)
    np.testing.assert_allclose(operator(x[::-1, ::-1]), y, atol=1e-12)
    black = jax.grad(lambda x: jnp.sum(operator(x)))(jnp.full(SHAPE, -1.0))
    assert bool(jnp.isfinite(black).all())


def test_gaussian_noise_has_its_size_and_spares_hidden_entries(x64):
    shape = (64, 64, 1)
    operator, x = operators.box_inpainting(shape, 32), jnp.zeros(shape)
    y = np.asarray(operators.measure(operator, x, 0.2, KEY))
    seen = np.asarray(operator.mask) > 0
    assert (y[~seen] == 0).all() and abs(y[seen].std() - 0.2) < 0.01 and abs(y[seen].mean()) < 0.01
    np.testing.assert_array_equal(y, operators.measure(operator, x, 0.2, jax.random.PRNGKey(0)))
    assert (y != operators.measure(operator, x, 0.2, jax.random.key(1))).any()


def test_poisson_noise_counts_photons(x64):
    shape = (64, 64, 1)
    operator, x = operators.box_inpainting(shape, 2), jnp.full(shape, 0.5)
    y = np.asarray(operators.measure_poisson(operator, x, 40.0, KEY))
    counts = 20.0 * (y + 1.0)
    seen = np.asarray(operator.mask) > 0
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    assert abs(counts[seen].mean() - 30.0) < 0.4 and abs(counts[seen].var() - 30.0) < 2.0
    assert (y[~seen] == 0).all()
    dark = operators.measure_poisson(operator, jnp.full(shape, -1.2), 40.0, KEY)
    assert (np.asarray(dark)[seen] == -1).all()


def test_the_poisson_likelihood_is_zero_at_its_maximum_and_pulls_black_pixels_up(x64):
    operator = operators.dynamic_range(SHAPE, 1.0 + 1e-9)
    objective = objectives.poisson_log_likelihood(operator, 30.0)
    x = 0.9 * image()
    y = operator(x)
    assert float(objective(x, y)) == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(jax.grad(objective)(x, y), 0.0, atol=1e-6)
    count, rate = 15.0 * (y + 1.0), 15.0 * (0.5 * x + 1.0)
    expected = jnp.sum(count * jnp.log(rate / count) - rate + count)
    np.testing.assert_allclose(objective(0.5 * x, y), expected, rtol=1e-6)
    gradient = jax.grad(objective)(jnp.full(SHAPE, -0.999), jnp.full(SHAPE, 0.5))
    assert bool((gradient > 0).all()) and bool(jnp.isfinite(gradient).all())
    assert float(objective.residual_norm(x, y)) == pytest.approx(0.0, abs=1e-9)


def test_residuals_of_photon_counts_are_weighted_by_their_variances(x64):
    """A pixel of n photons counts 1 / sqrt(n + 1), on the scale of the plain residual; black pixels stay finite."""
    operator = operators.dynamic_range(SHAPE, 1.0 + 1e-9)
    y = operator(image()).at[:4].set(-1.0)
    x, objective = 0.5 * image(), objectives.photon_residual(operator, 30.0)
    weight = 1.0 / np.sqrt(15.0 * (np.asarray(y) + 1.0) + 1.0)
    weight /= np.sqrt(np.mean(weight**2))
    norm = np.linalg.norm(weight * (y - operator(x)))
    np.testing.assert_allclose(objective(x, y), -norm, rtol=1e-12)
    np.testing.assert_allclose(objectives.photon_residual(operator, 30.0, squared=True)(x, y), -0.5 * norm**2)
    assert np.all(np.isfinite(jax.grad(objective)(x, y)))
    even = objectives.photon_residual(operator, 1e-9)
    np.testing.assert_allclose(even(x, y), objectives.residual_norm(operator)(x, y), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: operators.inpainting(np.ones(28)), r"shape=\(28,\) must be \(H, W, C\)"),
        (lambda: operators.box_inpainting((0, 28, 1), 5), "shape's height=0 must be an integer >= 1"),
        (lambda: operators.box_inpainting(SHAPE, 20), "size=20 at corner=.* is no box inside images of 12 x 8"),
        (lambda: operators.box_inpainting(SHAPE, 0), "size=0"),
        (lambda: operators.box_inpainting(SHAPE, 4, (10, 0)), r"corner=\(10, 0\)"),
        (lambda: operators.random_inpainting(KEY, SHAPE, 1.2), "hidden=1.2"),
        (lambda: operators.random_inpainting(KEY, SHAPE, 0.0), "hidden=0.0 hides 0 of 96 pixels"),
        (lambda: operators.inpainting(np.full((2, 2), 0.5), 1), "mask must hold 0"),
        (lambda: operators.inpainting(np.zeros((2, 2)), 1), "mask hides every entry"),
        (lambda: operators.inpainting(np.ones(SHAPE), 2), "channels=2 has no effect"),
        (lambda: operators.super_resolution(SHAPE, 3), "factor=3 does not divide 12 x 8"),
        (lambda: operators.super_resolution(SHAPE, 1), "factor=1 must be an integer >= 2"),
        (lambda: operators.gaussian_blur(SHAPE, 0.0), "std=0. must be a finite number > 0"),
        (lambda: operators.gaussian_blur(SHAPE, 1.0, 8), "radius=8 must be an integer in 1..7"),
        (lambda: operators.motion_blur(SHAPE, 1.0), "length=1. must"),
        (lambda: operators.motion_blur(SHAPE, 9.0), "length=9. must"),
        (lambda: operators.motion_blur(SHAPE, 5.0, float("nan")), "angle=nan"),
        (lambda: operators.convolution(SHAPE, np.ones((2, 3))), r"kernel has shape \(2, 3\); give a matrix with odd"),
        (lambda: operators.convolution(SHAPE, np.ones((13, 3))), "larger than images of 12 x 8"),
        (lambda: operators.matrix(np.ones(3)), r"A has shape \(3,\)"),
        (lambda: operators.matrix([[np.inf]]), "A=.* must be a finite number"),
        (lambda: operators.separable(np.ones(3), np.ones((2, 2)), 1), "rows has shape"),
        (lambda: operators.dynamic_range(SHAPE, 1.0), "gain=1. must"),
        (lambda: operators.phase_retrieval(SHAPE, 0.5), "oversampling=0.5"),
        (lambda: operators.measure(operators.dynamic_range(SHAPE), image(), 0.0, KEY), "noise_std=0"),
        (lambda: operators.measure(operators.dynamic_range(SHAPE), image(), -0.1, KEY), "noise_std=-0.1"),
        (lambda: operators.measure(operators.dynamic_range(SHAPE), jnp.zeros((3, 3, 1)), 0.1, KEY), "x0 has shape"),
        (lambda: operators.measure_poisson(operators.dynamic_range(SHAPE), image(), 0.0, KEY), "peak=0"),
        (lambda: operators.measure_poisson(operators.phase_retrieval(SHAPE), image(), 9.0, KEY), "use Gaussian noise"),
        (lambda: objectives.poisson_log_likelihood(operators.phase_retrieval(SHAPE), 9.0), "use Gaussian noise"),
        (lambda: objectives.poisson_log_likelihood(operators.dynamic_range(SHAPE), -1.0), "peak=-1. must"),
        (lambda: objectives.photon_residual(operators.phase_retrieval(SHAPE), 9.0), "use Gaussian noise"),
        (lambda: objectives.photon_residual(operators.dynamic_range(SHAPE), 0.0), "peak=0"),
        (lambda: objectives.gaussian_log_likelihood(operators.dynamic_range(SHAPE), 0.0), "noise_std=0"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_of_another_shape_is_refused_before_sampling():
    model = tfg.analytic.gaussian(np.zeros(3), np.eye(3)).denoiser(tfg.VPLinear())
    objective = objectives.gaussian_log_likelihood(operators.matrix(np.ones((1, 2))), 0.1)
    with pytest.raises(ValueError, match=r"x0 has shape \(3,\), but operator Matrix was made for \(2,\)"):
        tfg.sample(KEY, model, objective=objective, target=jnp.zeros((2, 1)), guidance=tfg.PiGDM())
