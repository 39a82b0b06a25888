"""Iterated gradient guidance: its exact fixed points and rates, what it depends on, failures, resumption."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from scripts.gradient_guidance import problems
from tfg_jax import optimize

PROBLEM = problems.linear_problem(6, 3, seed=3)
BASIS = jnp.asarray(PROBLEM.basis, jnp.float32)
SCHEDULE = tfg.from_alphas_cumprod(tfg.cosine_table(40))
SAMPLER = tfg.DDPM(steps=40)
# One model, batch, sampler and kind of guidance wherever it will do: compiling takes longer than running.
MODEL, LOOK = PROBLEM.model(SCHEDULE), tfg.GradientGuidance(noise_std=0.1)
QUICK = tfg.DDPM(steps=3)


def along(params, x0, target):
    return params @ x0


def towards(params, x0, target):
    return params["scale"] * -jnp.sum((x0 - target) ** 2)


def run(
    objective: Any, rounds: Any, *, batch: Any = 32, sampler: Any = SAMPLER, seed: Any = 0, model=None, **options: Any
):
    options = {"delta": 0.2, "guidance": LOOK, **options}
    return optimize.iterate(
        jax.random.key(seed), model or MODEL, objective, rounds=rounds, batch=batch, sampler=sampler,
        **options,
    )  # fmt: skip


F1 = problems.parabola(PROBLEM.theta_across)


def test_the_mean_settles_at_the_regularized_optimum():
    """lambda = noise^2 / delta; f1 along theta_par, t = |theta_par|: c = 6 t / (2 t^2 + lambda)."""
    out = run(F1, 130, linearize="mean", basis=BASIS)
    t, lam = 1 / np.sqrt(82), out.implicit_lambda
    assert lam == pytest.approx(0.05)
    expected = 10 - (t * 6 * t / (2 * t * t + lam) - 3) ** 2
    assert expected == pytest.approx(5.934, abs=1e-3)
    reached = out.history["reward"][-50:].mean()
    assert abs(reached - expected) < 0.3 and out.history["reward"][0] < 2.0
    assert out.history["off_support"].max() < 1e-5  # float32
    assert out.rounds == 130 and out.stopped is None and out.history["failed"].sum() == 0


def test_linear_rewards_contract_at_the_published_rate():
    """xbar <- P g (delta + g^T xbar) / (noise^2 + |P g|^2): here the rate is 1/2 and the limit P g delta / noise^2."""
    g = 0.1 * PROBLEM.theta_in
    out = run(tfg.objectives.from_fn(along, jnp.asarray(g, jnp.float32)), 6, delta=1.0, linearize="mean")
    reward = out.history["reward"]
    expected = [float(reward[0])]
    for _ in range(6):
        expected.append(0.5 * (1.0 + expected[-1]))
    np.testing.assert_allclose(reward, expected, atol=0.07)  # four standard errors
    np.testing.assert_allclose(out.history["gradient_norm"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(out.history["gradient_over_noise"], 1.0, rtol=1e-5)


def test_recentring_ascends_without_a_regularizer():
    """The idealised Algorithm 2 on f1, theta_2, delta 0.2 passes 9.9 within 60 rounds; Algorithm 1 stays at 5.9."""
    out = run(F1, 60, linearize="mean", adapt=optimize.Recentre(), basis=BASIS)
    assert out.history["reward"][-1] > 9.9 and out.implicit_lambda is None
    assert out.history["off_support"].max() < 1e-5
    moved = out.model.params[0].mean
    assert jnp.linalg.norm(moved) > 10.0  # the distribution has left the origin


def test_samples_do_not_depend_on_the_batch():
    few, many = (run(F1, 2, batch=n).x for n in (2, 32))
    np.testing.assert_allclose(few, many[:2], rtol=1e-4, atol=1e-4)


def test_units_of_the_reward():
    """f -> k f with delta -> k delta and noise -> k noise is the same run."""
    target = jnp.ones((32, 6))
    one = tfg.objectives.from_fn(towards, {"scale": jnp.asarray(1.0)})
    five = tfg.objectives.from_fn(towards, {"scale": jnp.asarray(5.0)})
    a = run(one, 2, target=target)
    b = run(five, 2, target=target, delta=1.0, guidance=tfg.GradientGuidance(noise_std=0.5))
    np.testing.assert_allclose(a.x, b.x, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(5.0 * a.history["reward"], b.history["reward"], rtol=1e-3)


def test_a_goal_is_the_bias_form_of_the_image_pipeline():
    """y - g^T x = y* - (g^T x + bias), bias = f(z) - g^T z; asking for f(z) + delta is asking for delta."""
    from tfg_jax.optimize.black_box import Autodiff
    from tfg_jax.optimize.rounds import Goal, assess

    z, ok = jnp.asarray(np.random.default_rng(0).standard_normal((3, 6)), jnp.float32), jnp.ones(3, bool)
    key = jax.random.key(0)
    goal, _, _ = assess(key, F1, Autodiff(), z, ok, target=None, goal=Goal(None, 9.0), last=None, linearize="sample")
    bias = goal.value - jnp.sum(goal.g * z, axis=1)
    np.testing.assert_allclose(goal.y, 9.0 - bias, rtol=1e-5)
    np.testing.assert_allclose(goal.g, jax.vmap(lambda x: jax.grad(F1)(x, None))(z), rtol=1e-6)
    rise, _, _ = assess(key, F1, Autodiff(), z, ok, target=None, goal=Goal(0.5, None), last=None, linearize="sample")
    np.testing.assert_allclose(rise.y, 0.5 + jnp.sum(goal.g * z, axis=1), rtol=1e-5)
    mean, _, _ = assess(key, F1, Autodiff(), z, ok, target=None, goal=Goal(None, 9.0), last=None, linearize="mean")
    centre = z.mean(0)
    gradient = jax.grad(F1)(centre, None)
    np.testing.assert_allclose(mean.g, jnp.broadcast_to(gradient, z.shape), rtol=1e-5)
    np.testing.assert_allclose(mean.y, 9.0 - F1(centre, None) + gradient @ centre, rtol=1e-4)


def test_fixed_latents_are_used_in_every_round():
    initial = jax.random.normal(jax.random.key(9), (2, 6))
    ddim = tfg.DDIM(steps=3, eta=None)
    same = tfg.objectives.from_fn(along, jnp.zeros(6))  # no gradient: every round is the unguided one
    seen = []
    keep = lambda k, b, notes: seen.append(np.asarray(b.z)) and None  # noqa: E731
    run(same, 2, batch=2, sampler=ddim, initial=initial, on_round=keep)
    assert len(seen) == 3
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    other = run(same, 1, batch=2, sampler=ddim, initial=initial + 1.0).x  # of the same programs
    assert np.abs(other - seen[0]).max() > 1e-3


def test_a_constant_beta_reports_no_regularizer():
    out = run(F1, 1, guidance=tfg.GradientGuidance(beta="constant", beta_coef=0.1))
    assert out.implicit_lambda is None and "gradient_over_noise" not in out.history


# --- failures -----------------------------------------------------------------------------------------------------


def _cliff(params, x0, target):
    """Rises along a direction of the data, and is not a number beyond a cliff."""
    along = jnp.asarray(PROBLEM.theta_in, x0.dtype) @ x0
    return jnp.where(along > params, jnp.nan, 3.0 * along)


def test_a_round_without_a_good_sample_stops_with_the_last_good_one(tmp_path):
    cliff = tfg.objectives.from_fn(_cliff, jnp.asarray(3.5))
    heard = []
    options = dict(delta=15.0, guidance=tfg.GradientGuidance(noise_std=0.01), folder=tmp_path)
    out = run(cliff, 9, on_round=lambda k, b, notes: heard.append((k, notes["failed"])) and None, **options)
    assert out.stopped is not None and out.rounds == out.stopped - 1 == heard[-1][0] < 9
    assert np.isfinite(out.x).all() and (out.x @ PROBLEM.theta_in <= 3.5).all()
    assert len(out.history["reward"]) == out.rounds + 1 and np.isfinite(out.history["reward"]).all()
    again = run(cliff, 9, **options)
    assert again.stopped == out.stopped
    np.testing.assert_array_equal(again.x, out.x)


def test_a_failed_sample_keeps_its_last_good_state():
    cliff = tfg.objectives.from_fn(_cliff, jnp.asarray(1.2))
    seen = []
    out = run(cliff, 3, delta=1.5, on_round=lambda k, b, n: seen.append((np.asarray(b.z), n)) and None)
    failed = [n["failed"] for _, n in seen]
    assert 0 < failed[1] < 32 and out.stopped is None
    kept = (seen[1][0] == seen[0][0]).all(axis=1)
    assert kept.sum() == failed[1] and np.isfinite(out.history["reward"]).all()


def test_a_model_that_gives_nothing_finite_is_an_error():
    model = tfg.from_fn(lambda params, x, t, cond: x * jnp.nan, None, SCHEDULE, prediction="x0", shape=(2,))
    with pytest.raises(ValueError, match="no sample of the unguided round is finite"):
        run(tfg.objectives.from_fn(along, jnp.ones(2)), 2, model=model, batch=2, sampler=QUICK)


BAD = [
    ({"delta": 0.0}, "delta=0. must be a finite number > 0"),
    ({"delta": -1.0}, "delta=-1."),
    ({"delta": None}, "delta=None and goal=None: give one"),
    ({"goal": 1.0}, "give one"),
    ({"delta": None, "goal": float("nan")}, "goal=nan"),
    ({"rounds": 0}, "rounds=0"),
    ({"batch": 0}, "batch=0"),
    ({"guidance": lambda: tfg.GradientGuidance(noise_std=0.0)}, "noise_std=0."),
    ({"guidance": lambda: tfg.GradientGuidance(beta_coef=-1.0)}, "beta_coef=-1."),
    ({"objective": lambda x0, target: x0}, r"objective must return a scalar .* got shape \(6,\)"),
    ({"objective": tfg.objectives.from_fn(lambda p, x, t, level: x.sum(), noisy=True)}, "one of noisy samples"),
    ({"initial": jnp.zeros((2, 5))}, r"initial has shape \(2, 5\)"),
    ({"basis": jnp.ones((6, 2))}, "basis must have orthonormal columns"),
    ({"basis": jnp.eye(5)}, r"basis has shape \(5, 5\)"),
    ({"target": jnp.zeros((3, 6))}, "num_samples=2 needs"),
    ({"config": {"a": 1}}, "config has no effect without a folder"),
    ({"save_every": 2}, "save_every has no effect without a folder"),
    ({"gradient": optimize.Antithetic(directions=0)}, "directions=0"),
    ({"gradient": optimize.Antithetic(radius=0.0)}, "radius=0."),
    ({"gradient": optimize.LeastSquares(ridge=0.0)}, "ridge=0."),
    ({"adapt": optimize.FineTune(learning_rate=0.0)}, "learning_rate=0."),
    ({"adapt": optimize.FineTune(steps=0)}, "steps=0"),
    ({"adapt": optimize.FineTune(decay=0.5)}, "decay=0.5 has no effect with memory=1"),
    ({"adapt": optimize.FineTune(data_weight=0.5)}, "only together"),
    ({"adapt": optimize.FineTune(data=jnp.zeros((2, 6)), data_weight=1.0)}, "data_weight=1.0 must lie in"),
    ({"adapt": optimize.FineTune(data=jnp.zeros((2, 5)), data_weight=0.5)}, r"data has shape \(2, 5\)"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), BAD, ids=[said[:25] for _, said in BAD])
def test_mistakes_are_named_before_anything_runs(change, said):
    options = {"objective": F1, "rounds": 1, "batch": 2, "sampler": QUICK, **change}
    with pytest.raises(ValueError, match=said):
        if "guidance" in options:  # refused where it is written
            options["guidance"] = options["guidance"]()
        run(options.pop("objective"), options.pop("rounds"), **options)


# --- resumption ---------------------------------------------------------------------------------------------------


def _network(params, x, t, cond):
    return params["w"] @ x * t


def trainable():
    w = 0.3 * np.random.default_rng(0).standard_normal((6, 6))
    return tfg.from_fn(_network, {"w": jnp.asarray(w, jnp.float32)}, tfg.VPLinear(), prediction="eps", shape=(6,))


TUNE = optimize.FineTune(learning_rate=1e-2, memory=2, decay=0.5, start=2)


def test_a_run_cut_between_rounds_goes_on_bit_by_bit(tmp_path):
    """It is cut in a round that is not one of those saved anyway."""
    options: dict[str, Any] = dict(model=trainable(), batch=3, sampler=QUICK, adapt=TUNE)
    whole = run(F1, 5, **options)
    options |= {"folder": tmp_path, "save_every": 2}
    cut = run(F1, 5, on_round=lambda k, b, n: k == 3, **options)
    assert cut.rounds == 3
    rounds = []
    back = run(F1, 5, on_round=lambda k, b, n: rounds.append(k), **options)
    assert rounds == [4, 5]
    np.testing.assert_array_equal(back.x, whole.x)
    np.testing.assert_array_equal(back.model.params["w"], whole.model.params["w"])
    for name in set(whole.history) - {"seconds"}:
        np.testing.assert_array_equal(back.history[name], whole.history[name])
    assert np.abs(whole.model.params["w"] - trainable().params["w"]).max() > 1e-3
    done = run(F1, 5, **options)  # nothing is left to do
    np.testing.assert_array_equal(done.x, whole.x)
    assert json.loads((tmp_path / "config.json").read_text())["delta"] == 0.2


CHANGES = [
    {"delta": 0.3},
    {"linearize": "mean"},
    {"seed": 1},
    {"guidance": tfg.NaiveGradientGuidance()},
    {"adapt": optimize.FineTune(learning_rate=1e-3)},
    {"model": PROBLEM.model(tfg.VPLinear())},
    {"objective": problems.parabola(PROBLEM.theta_in)},
    {"sampler": tfg.DDPM(steps=2)},
    {"rounds": 2},
]


def test_another_configuration_is_refused(tmp_path):
    given = {"model": trainable(), "batch": 3, "sampler": QUICK, "objective": F1, "rounds": 1}

    def again(**change):
        options = {**given, **change}
        return run(options.pop("objective"), options.pop("rounds"), folder=tmp_path, **options)

    first = again()
    for change in CHANGES:
        with pytest.raises(ValueError, match="holds another configuration"):
            again(**change)
    np.testing.assert_array_equal(again().x, first.x)
    assert np.abs(again(delta=0.3, overwrite=True).x - first.x).max() > 0
