"""Algorithm 1 by exact laws: the reference's plateaus on the published problem, and what `iterate` makes of it."""

import jax
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import optimise
from tfg_jax.optimise import laws, problems

PROBLEM = problems.linear_problem(seed=2345)
F1_ACROSS = laws.parabola(PROBLEM.basis, PROBLEM.theta_across)
F1_INSIDE = laws.parabola(PROBLEM.basis, PROBLEM.theta_in)


def plateau(f, delta, linearise, seed=0):
    """Mean of the last hundred of the published thousand rounds, 32 samples each."""
    return laws.rewards(PROBLEM.basis, f, delta, 1000, linearise=linearise, seed=seed)[-100:].mean()


@pytest.mark.parametrize(("linearise", "expected"), [("mean", 5.946), ("sample", 5.927)])
def test_f1_across_the_subspace_settles_below_its_maximum(linearise, expected):
    assert F1_ACROSS.optimum(0.1**2 / 0.2) == pytest.approx(5.934, abs=1e-3)
    assert plateau(F1_ACROSS, 0.2, linearise) == pytest.approx(expected, abs=0.03)


def test_each_sample_of_its_own_pays_where_its_gradient_vanishes():
    """theta_1: guidance fades as |g| nears the noise, and a sample near the top falls back to the prior."""
    assert F1_INSIDE.optimum(0.1**2 / 0.05) == pytest.approx(9.926, abs=1e-3)
    assert F1_INSIDE.optimum(0.1**2 / 0.004) == pytest.approx(7.222, abs=1e-3)
    assert plateau(F1_INSIDE, 0.05, "mean") == pytest.approx(9.880, abs=0.02)
    drawn = [plateau(F1_INSIDE, 0.05, "sample", seed) for seed in range(6)]
    assert min(drawn) < 7.24 < max(drawn) < 8.5


def test_f2_depends_on_where_b_lies():
    """b_1 is the same for everyone but for the subspace; the reference's -8.65 and -9.14 are of another draw of it."""
    for b, low, high in (("b_same", -10.8, -8.4), ("b_spread", -15.8, -10.0)):
        found = []
        for seed in (2345, 3456, 5678):
            problem = problems.linear_problem(seed=seed)
            f = laws.distance(problem.basis, getattr(problem, b))
            mean, each = (laws.rewards(problem.basis, f, 1.0, 50, linearise=how)[-1] for how in ("mean", "sample"))
            assert each < mean
            found.append(mean)
        assert low < min(found) and max(found) < high


def test_recentred_rounds_climb_without_a_regulariser():
    climb = laws.rewards(PROBLEM.basis, F1_ACROSS, 0.2, 100, recentre=True)
    assert climb[50] == pytest.approx(9.97, abs=0.1) and climb[100] == pytest.approx(10.0, abs=0.03)
    slow = laws.rewards(PROBLEM.basis, F1_ACROSS, 0.05, 300, recentre=True)
    assert slow[300] == pytest.approx(10.0, abs=0.03)
    hovering = laws.rewards(PROBLEM.basis, F1_INSIDE, 0.05, 400, recentre=True)[300:]
    assert 9.4 < hovering.mean() < 9.958  # where means alone hover: the step does not shrink, and samples spread


@pytest.mark.parametrize("linearise", ["mean", "sample"])
def test_guided_sampling_draws_from_these_laws(linearise):
    """The same rounds by DDPM, on a smaller problem; the curves agree within their noise."""
    small = problems.linear_problem(6, 3, seed=3)
    steps, rounds, delta = 60, 40, 0.2
    model = small.model(tfg.from_alphas_cumprod(tfg.cosine_table(steps)))
    out = optimise.iterate(
        jax.random.key(0), model, problems.parabola(small.theta_across), rounds=rounds, batch=128, delta=delta,
        linearise=linearise, sampler=tfg.DDPM(steps=steps), guidance=tfg.GradientGuidance(noise_std=0.1),
    )  # fmt: skip
    f = laws.parabola(small.basis, small.theta_across)
    expected = np.mean(
        [laws.rewards(small.basis, f, delta, rounds, linearise=linearise, batch=128, seed=s) for s in range(8)], axis=0
    )
    np.testing.assert_allclose(out.history["reward"], expected, atol=0.25)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delta": 0.0}, "delta=0"), ({"rounds": 0}, "rounds=0"), ({"batch": 0}, "batch=0"),
        ({"noise_std": -1.0}, "noise_std=-1"), ({"linearise": "median"}, "linearise='median'"),
    ],
)  # fmt: skip
def test_refusals(options, said):
    with pytest.raises(ValueError, match=said):
        laws.rewards(PROBLEM.basis, F1_ACROSS, **{"delta": 0.2, "rounds": 2, **options})
