"""Complex measurements: operators keep imaginary parts, a complex y of a real sample counts as two real ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import analytic, metrics, objectives, operators

SHAPE = (6, 5, 2)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
MASK = (RNG.uniform(size=SHAPE[:2]) < 0.5).astype(float)
KERNEL = RNG.normal(size=(3, 3)) + 1j * RNG.normal(size=(3, 3))
MATRIX = np.array([[1 + 1j, 2.0, 0.3j], [0.2, 0.5 - 1j, -1.0]])


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


LINEAR = {
    "matrix": lambda: operators.matrix(MATRIX),
    "convolution": lambda: operators.convolution(SHAPE, KERNEL),
    "real convolution": lambda: operators.convolution(SHAPE, KERNEL.real),
    "separable": lambda: operators.separable(draw(4, 6), draw(3, 5, seed=1), 2),
    "super-resolution": lambda: operators.super_resolution((6, 4, 2), 2),
    "inpainting": lambda: operators.inpainting(MASK, 2),
    "fourier": lambda: operators.fourier(SHAPE, MASK),
    "centered fourier": lambda: operators.fourier(SHAPE, MASK, centered=True),
    "two channels": lambda: operators.fourier(SHAPE, MASK, two_channel=True),
    "scan": lambda: operators.random_fourier(KEY, (4, 12, 1), 0.5),
}


def parts(values):
    """Real, then imaginary parts."""
    return np.concatenate([np.real(values), np.imag(values)])


def in_reals(operator, x):
    """The operator as a matrix of real numbers, by its columns."""
    columns = jax.vmap(lambda e: operator(e.reshape(x.shape)).ravel())(jnp.eye(x.size))
    return parts(columns.T)


@pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
def test_adjoints_and_solutions_are_exact_for_complex_numbers(make, x64):
    """<A x, y> = <x, A^H y>, the system of A A^H is solved, and real samples get the gradient of two real
    measurements."""
    operator = make()
    real = jnp.asarray(np.random.default_rng(2).normal(size=operator.shape))
    x = real if getattr(operator, "two_channel", False) else real + 1j * real[::-1]
    y = draw(*jax.eval_shape(operator, x).shape, seed=3)

    @jax.jit
    def both(operator, x, y):
        back = operator.adjoint(y)
        gram = operator(back) if x is not real else operator.mask * y
        return operator(x), back, operator.gram_solve(0.7 * gram + 0.01 * y, 0.7, 0.01)

    @jax.jit
    def gradients(operator, y):
        return [operators.measurement_gradient(f, real, y, 0.7, 0.1) for f in (operator, lambda x: operator(x))]

    seen, back, solved = both(operator, x, y)
    assert seen.dtype == jnp.complex128
    forth = np.vdot(seen, y)
    np.testing.assert_allclose(forth.real if x is real else forth, np.vdot(x, back), rtol=1e-12)
    np.testing.assert_allclose(solved, y, rtol=1e-9)
    if jnp.iscomplexobj(jax.eval_shape(operator, real)):
        A, both_parts = in_reals(operator, real), parts(np.ravel(y))
        expected = A.T @ np.linalg.solve(0.7 * A @ A.T + 0.1 * np.eye(len(A)), both_parts)
        exact = 1e-9 if hasattr(operator, "real_gradient") else 1e-4
        for gradient, tolerance in zip(gradients(operator, y), (exact, 1e-4), strict=True):
            assert gradient.dtype == jnp.float64
            np.testing.assert_allclose(gradient.ravel(), expected, atol=tolerance)


def test_imaginary_parts_are_kept(x64):
    np.testing.assert_allclose(operators.matrix([[1 + 1j, 2]])(jnp.array([1.0, 0.5])), [2 + 1j])
    x = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE))
    circular = operators.convolution(SHAPE, [[0, 0, 0], [0, 1j, 0], [0, 2, 0]])
    np.testing.assert_allclose(circular(x), 1j * x + 2 * jnp.roll(x, 1, axis=0), atol=1e-12)
    rows, columns = draw(4, 6), draw(3, 5, seed=1)
    np.testing.assert_allclose(
        operators.separable(rows, columns, 2)(x), jnp.einsum("ij,jkc,lk->ilc", rows, x, columns), rtol=1e-12
    )
    assert operators.matrix(MATRIX)(jnp.zeros(3, jnp.float32)).dtype == jnp.complex64


def test_fourier_is_the_unitary_transform_of_what_is_measured(x64):
    x, pairs = draw(*SHAPE), jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))
    whole = np.fft.fft2(x, axes=(0, 1), norm="ortho")
    np.testing.assert_allclose(operators.fourier(SHAPE)(x), whole, atol=1e-12)
    np.testing.assert_allclose(operators.fourier(SHAPE, MASK)(x), MASK[..., None] * whole, atol=1e-12)
    two = operators.fourier(SHAPE, MASK, two_channel=True)(pairs)
    alone = operators.fourier((*SHAPE[:2], 1), MASK)(pairs[..., :1] + 1j * pairs[..., 1:])
    np.testing.assert_allclose(two, alone, atol=1e-12)
    middle = operators.fourier(SHAPE, centered=True)(jnp.fft.fftshift(x, (0, 1)))
    np.testing.assert_allclose(middle, jnp.fft.fftshift(whole, (0, 1)), atol=1e-12)
    for centered in (False, True):
        scan = operators.random_fourier(KEY, (4, 25, 1), 0.4, center=0.2, centered=centered).mask[0, :, 0]
        lowest = np.fft.fftshift(scan) if not centered else np.asarray(scan)
        assert float(scan.sum()) == 10 and (lowest[10:15] == 1).all()


def test_noise_has_its_standard_deviation_in_both_parts(x64):
    """E |noise|^2 = 2 noise_std^2, none where nothing is measured; the residual's size is that of the noise."""
    operator, x = operators.fourier((64, 64, 1), np.tile([0, 1], (64, 32))), jnp.zeros((64, 64, 1))
    y = np.asarray(operators.measure(operator, x, 0.2, KEY))
    seen = np.asarray(operator.mask) > 0
    assert (y[~seen] == 0).all()
    assert abs(np.real(y[seen]).std() - 0.2) < 0.01 and abs(np.imag(y[seen]).std() - 0.2) < 0.01
    np.testing.assert_allclose(metrics.measurement_residual(operator, x[None], y[None]), 0.2, rtol=0.05)
    likelihood = objectives.gaussian_log_likelihood(operator, 0.2)
    np.testing.assert_allclose(likelihood(x, jnp.asarray(y)), -np.sum(np.abs(y) ** 2) / (2 * 0.2**2), rtol=1e-12)
    norm = objectives.residual_norm(operator)
    np.testing.assert_allclose(norm(x, jnp.asarray(y)), -np.linalg.norm(y), rtol=1e-12)
    assert bool((jax.grad(norm)(x, operator(x)) == 0).all())


MEAN, STD, NOISE = np.array([0.4, -0.2, 0.1]), 0.6, 0.3
Y = jnp.asarray(np.array([[0.7 - 0.2j, -0.5 + 1j]] * 2), jnp.complex64)


MODEL = analytic.gaussian(MEAN, STD**2 * np.eye(3)).denoiser(tfg.VPLinear())


def guided(guidance, objective, **options):
    options = {"sampler": tfg.DDIM(steps=4, eta=0.5), "target": Y, **options}
    return tfg.sample(KEY, MODEL, guidance=guidance, objective=objective, **options)


def test_pigdm_is_bayes_rule_for_complex_measurements():
    """The exact posterior's score step by step, where the data are an isotropic Gaussian; `posterior` by hand."""
    data = analytic.gaussian(MEAN, STD**2 * np.eye(3))
    exact = guided(tfg.ClassifierGuidance(1.0), analytic.conditional_objective(MATRIX, NOISE, data))
    likelihood = objectives.gaussian_log_likelihood(operators.matrix(MATRIX), NOISE)
    got = guided(tfg.PiGDM(1.0, data_std=STD, weighting="score"), likelihood)
    np.testing.assert_allclose(got.x, exact.x, rtol=2e-4, atol=2e-5)
    distribution = data.posterior(jnp.asarray(MATRIX), Y[0], NOISE)
    A, y = parts(MATRIX), parts(Y[0])
    precision = np.eye(3) / STD**2 + A.T @ A / NOISE**2
    np.testing.assert_allclose(
        distribution.mean, np.linalg.solve(precision, MEAN / STD**2 + A.T @ y / NOISE**2), rtol=1e-4
    )
    np.testing.assert_allclose(distribution.cov, np.linalg.inv(precision), rtol=1e-3, atol=1e-5)


def network(std, x, t, cond):
    level = tfg.VPLinear().level(t)
    return level.sigma * x / (level.alpha**2 * std**2 + level.sigma**2)


@pytest.mark.parametrize("two_channel", [False, True])
def test_methods_run_end_to_end_on_fourier_measurements(two_channel):
    """DPS, PiGDM and MPGD finish and explain y far better than unguided samples."""
    shape = (4, 6, 2)
    operator = operators.random_fourier(KEY, shape, 0.5, two_channel=two_channel)
    model = tfg.from_fn(network, 0.5, tfg.VPLinear(), prediction="eps", shape=shape)
    truth = 0.5 * jax.random.normal(jax.random.key(1), (2, *shape))
    y = jax.vmap(lambda x, key: operators.measure(operator, x, 0.05, key))(truth, jax.random.split(KEY, 2))
    gaussian, norm = objectives.gaussian_log_likelihood(operator, 0.05), objectives.residual_norm(operator)
    square = objectives.gaussian_log_likelihood(operator, 1.0)
    sampler = tfg.DDIM(steps=20)
    plain = tfg.sample(KEY, model, num_samples=2, sampler=sampler)
    unguided = metrics.measurement_residual(operator, plain.x, y).mean()
    for guidance, objective in (
        (tfg.DPS(1.0, normalize="residual"), square),
        (tfg.PiGDM(data_std=0.5), gaussian),
        (tfg.MPGD(1.0), norm),
    ):
        out = tfg.sample(KEY, model, guidance=guidance, objective=objective, target=y, sampler=sampler)
        assert bool(out.status.ok.all()) and out.x.dtype == jnp.float32
        assert metrics.measurement_residual(operator, out.x, y).mean() < 0.6 * unguided, guidance


def to_complex(x):
    return jax.lax.complex(x, jnp.zeros_like(x))


def halves(x):
    return x[:1]


REAL = Y[:, :1].real


def of_complex_value(x, y):
    return -jnp.sum((y - jnp.asarray(MATRIX, jnp.complex64) @ x) ** 2)


def with_complex_output(params, x, t, cond):
    return 1j * x


COMPLEX_SCORE = objectives.from_fn(lambda params, x, y: of_complex_value(x, y))
COMPLEX_NETWORK = tfg.from_fn(with_complex_output, None, tfg.VPLinear(), prediction="eps", shape=(3,))
LIKELIHOOD = objectives.gaussian_log_likelihood(operators.matrix(MATRIX), NOISE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: guided(tfg.PiGDM(), LIKELIHOOD, target=Y.real),
         r"target must be complex measurements .* float32; give"),
        (lambda: guided(tfg.DPS(), objectives.residual_norm(operators.matrix(np.real(MATRIX))), target=Y),
         r"target must be float measurements .* complex64; give"),
        (lambda: guided(tfg.DPS(), objectives.through(to_complex, objectives.residual_norm(halves)), target=REAL),
         "target must be complex measurements"),
        (lambda: guided(tfg.DPS(), of_complex_value), "must return a real floating number, got dtype complex64"),
        (lambda: tfg.end_to_end(KEY, COMPLEX_NETWORK, tfg.DFlow(), objective=of_complex_value, target=Y, num_samples=2),
         "must return a real floating number, got dtype complex64"),
        (lambda: tfg.best_of_n(KEY, MODEL, n=2, num_samples=2, score=COMPLEX_SCORE, target=Y),
         "score returns complex64"),
        (lambda: tfg.sample(KEY, COMPLEX_NETWORK, num_samples=2), "the network returns complex64; give real and"),
        (lambda: jax.jit(operators.matrix)(MATRIX), "A is traced"),
        (lambda: guided(tfg.DPS(), objectives.poisson_log_likelihood(operators.matrix(MATRIX), 9.0)),
         "Matrix measures complex numbers, no brightness; use Gaussian noise"),
        (lambda: operators.measure_poisson(operators.matrix(MATRIX), jnp.zeros(3), 9.0, KEY), "measures complex"),
        (lambda: operators.measure_poisson(operators.fourier(SHAPE), jnp.zeros(SHAPE), 9.0, KEY), "use Gaussian noise"),
        (lambda: operators.dynamic_range(SHAPE)(draw(*SHAPE)), "x0 is complex, but operator DynamicRange"),
        (lambda: operators.phase_retrieval(SHAPE)(draw(*SHAPE)), "x0 is complex, but operator PhaseRetrieval"),
        (lambda: operators.fourier(SHAPE, two_channel=True)(draw(*SHAPE)), "two_channel=True reads real and imaginary"),
        (lambda: operators.fourier((4, 4, 1), two_channel=True), "has 1 channels, two_channel=True needs 2"),
        (lambda: operators.fourier(SHAPE, MASK.T), r"mask has shape \(5, 6\), .* need \(6, 5\)"),
        (lambda: operators.fourier(SHAPE, 0.5 * MASK), "mask must hold 0"),
        (lambda: operators.fourier(SHAPE, 1j * MASK), "mask is complex"),
        (lambda: operators.inpainting(1j * MASK, 2), "mask is complex"),
        (lambda: operators.random_fourier(KEY, SHAPE, 1.5), "kept=1.5"),
        (lambda: operators.random_fourier(KEY, SHAPE, 0.3, center=0.5), "center=0.5"),
        (lambda: operators.matrix([[np.nan + 1j]]), "A holds NaN or infinity"),
        (lambda: analytic.gaussian(1j * MEAN, np.eye(3)), "mean=.* must be a real number"),
        (lambda: analytic.gaussian(MEAN, 1j * np.eye(3)), "cov=.* must be a real number"),
    ],
)  # fmt: skip
def test_what_cannot_be_complex_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
