"""Results as data: a bad sample says so and leaves the others bit-identical; records and windows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import METHODS, SAMPLERS, D

import tfg_jax as tfg
from tfg_jax.result import LARGEST

STEPS = 4


def fragile(schedule, x, t, cond):
    """The ideal network, which returns NaN once the time falls below ``cond``."""
    return jnp.where(t < cond, jnp.nan, 1.0) * problems.eps_network(schedule, x, t, cond)


SCHEDULE = tfg.VPLinear()
MODEL = tfg.from_fn(fragile, SCHEDULE, SCHEDULE, prediction="eps", shape=(D,))
TIMES = np.asarray([0.9, 0.7, 0.45, 0.2, 0.0])
GRID = tfg.Explicit(jnp.asarray(TIMES, jnp.float32))
NEVER = -1.0


def draw(breaks_at, method="tfg", sampler="ddim", **options):
    given = problems.arguments(method, 0.3)
    if "target" in given:
        given["target"] = jnp.concatenate([given["target"]] * 2)[:3]
    given = {**given, **options}
    return tfg.sample(
        jax.random.key(2), MODEL, num_samples=3, cond=jnp.asarray(breaks_at, jnp.float32),
        sampler=SAMPLERS[sampler](STEPS, GRID), noise=problems.tape(STEPS, given["guidance"].n_recur, n=3), **given,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "sampler"),
    [("tfg_smoothed", "ddim"), ("ugd", "ddpm"), ("dps", "dpmpp2m"), ("mpgd", "churn")],
)
def test_one_bad_sample(method, sampler):
    """Sample 1 breaks from step 2 on (t = 0.45): it keeps the state after step 1."""
    record = tfg.Record(steps=tuple(range(STEPS)))
    good = draw([NEVER] * 3, method, sampler, record=record)
    bad = draw([NEVER, 0.5, NEVER], method, sampler, record=record)
    assert good.status.code.tolist() == [0, 0, 0] and good.status.step.tolist() == [-1, -1, -1]
    assert bad.status.code.tolist() == [0, 1, 0]
    assert bad.status.step.tolist() == [-1, 2, -1] and bad.status.ok.tolist() == [True, False, True]
    np.testing.assert_array_equal(bad.x[jnp.array([0, 2])], good.x[jnp.array([0, 2])])
    np.testing.assert_array_equal(bad.x[1], good.info["x"][1, 1])
    np.testing.assert_array_equal(bad.info["x"][1, 1:], np.stack([bad.x[1]] * (STEPS - 1)))
    np.testing.assert_array_equal(bad.cost.forwards, good.cost.forwards)


def test_heun_breaks_at_its_second_evaluation():
    """The network breaks below t = 0.5, which Heun meets at the end of step 1 (t = 0.7 to 0.45)."""
    bad = draw([NEVER, 0.5, 0.8], "tfg", "heun")
    assert bad.status.code.tolist() == [0, 1, 1] and bad.status.step.tolist() == [-1, 1, 0]
    assert bool(jnp.isfinite(bad.x).all())


def test_a_sample_bad_from_the_start_holds_its_noise():
    out = draw([2.0, NEVER, 2.0], "mpgd", record=tfg.Record(steps=(0, 1, 2, 3)))
    assert out.status.code.tolist() == [1, 0, 1] and out.status.step.tolist() == [0, -1, 0]
    assert bool(jnp.isfinite(out.x).all())
    np.testing.assert_array_equal(out.x[0], out.info["x"][0, 0])


def test_a_diverging_strength_is_reported_not_raised():
    """Finite, but far beyond the data: the sample keeps its last state within the bound, here the noise it began as."""
    out = draw([NEVER] * 3, guidance=tfg.TFG(rho=1e38, mu=1e38, n_iter=4), record=tfg.Record(steps=(0,)))
    assert out.status.code.tolist() == [3, 3, 3] and out.status.step.tolist() == [0, 0, 0]
    assert not out.status.ok.any() and bool((jnp.abs(out.x) < 10.0).all())


def crossing(x0, target):
    return jnp.sum(jnp.sin(100.0 * x0)) - target


@pytest.mark.parametrize("schedule", ["vp_linear", "edm"])
def test_a_reward_divided_by_its_value_diverges(schedule):
    """DPS by value on a reward that crosses 0. Noise of 80 data scales, as EDM begins with, is no divergence."""
    model = problems.denoiser(problems.schedules()[schedule])
    grid = tfg.Karras(sigma_min=0.02)
    given: Any = dict(objective=crossing, target=jnp.zeros(2), sampler=tfg.DDIM(steps=40, grid=grid))
    draw = lambda strength: tfg.sample(jax.random.key(0), model, guidance=tfg.DPS(strength), **given)  # noqa: E731
    assert draw(1e-6).status.code.tolist() == [0, 0]
    out = draw(1e4)
    assert out.status.code.tolist() == [3, 3] and (out.status.step >= 0).all() and (out.status.step < 40).all()
    level = model.schedule.level(grid(model.schedule, 40))
    assert (jnp.abs(out.x).max(1) <= LARGEST * level.scale[out.status.step]).all()


def flat(x0, target):
    return 0.0 * jnp.sum(x0) + target


def flat_noisy(params, x, target, level):
    return flat(x, target)


SHUT = tfg.Clip(4.0, 5.0)  # every entry saturates: no gradient passes "inside"


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("pigdm", "dps_residual")])
def test_guidance_without_a_gradient_is_said(method):
    """It finished, so it is ok; the code says that guidance did nothing."""
    objective = tfg.objectives.from_fn(flat_noisy, noisy=True) if method == "classifier" else flat
    out = draw([NEVER] * 3, method, objective=objective, target=jnp.asarray([1.0, 2.0, 3.0]))
    assert out.status.code.tolist() == [4, 4, 4] and out.status.ok.all() and out.status.step.tolist() == [-1, -1, -1]


def test_guidance_that_acts_at_one_step_alone_is_not_idle():
    within = draw([NEVER] * 3, "mpgd", window=(-50.0, 50.0))
    assert within.status.code.tolist() == [0, 0, 0]
    log_snr = float(SCHEDULE.log_snr(TIMES[2]))
    assert draw([NEVER] * 3, "mpgd", window=(log_snr - 0.1, log_snr + 0.1)).status.code.tolist() == [0, 0, 0]
    assert draw([NEVER] * 3, "freedom", window=(50.0, 60.0)).status.code.tolist() == [4, 4, 4]
    assert draw([NEVER] * 3, "freedom", clip=SHUT).status.code.tolist() == [4, 4, 4]
    bad = draw([NEVER, 0.5, NEVER], "freedom", clip=SHUT)
    assert bad.status.code.tolist() == [4, 1, 4]


def test_an_inversion_that_diverges_says_so():
    growing = tfg.from_fn(lambda p, x, t, c: -3000.0 * x, None, SCHEDULE, prediction="eps", shape=(D,))
    out = tfg.invert(growing, jnp.asarray([[0.1] * D, [0.0] * D]), steps=4)
    assert out.status.code.tolist() == [3, 0] and int(out.status.step[0]) >= 0
    assert bool((jnp.abs(out.x) < 2 * LARGEST).all())


def test_invalid_input_under_jit():
    """Classes and starts cannot be read while compiling: the sample's status says 2, the others are untouched."""
    given = problems.arguments("tfg", 0.3)
    sampler = SAMPLERS["ddim"](STEPS, GRID)

    @jax.jit
    def run(target, x):
        return tfg.sample(
            jax.random.key(0), MODEL, cond=jnp.full(3, NEVER), start=(x, 0.9), sampler=sampler,
            **{**given, "target": target},
        )  # fmt: skip

    x = jnp.ones((3, D))
    good = run(jnp.array([0, 1, 2]), x)
    for target, start in (([0, 3, 2], x), ([0, -1, 2], x), ([0, 1, 2], x.at[1, 0].set(jnp.nan))):
        out = run(jnp.array(target), start)
        assert out.status.code.tolist() == [0, 2, 0] and out.status.step.tolist() == [-1, -1, -1]
        np.testing.assert_array_equal(out.x[jnp.array([0, 2])], good.x[jnp.array([0, 2])])


def test_invalid_classes_and_nested_targets_under_jit():
    """The condition is checked as the target is, and so are the targets inside composed objectives."""
    objective = tfg.objectives.total(
        tfg.objectives.weighted(problems.class_objective(), 0.5), problems.residual_objective(), OfEvenNumbers()
    )
    model = tfg.from_fn(labelled, SCHEDULE, SCHEDULE, prediction="eps", shape=(D,), num_classes=2)

    @jax.jit
    def run(cond, target, measured, even=jnp.array([0, 2, 4])):
        return tfg.sample(
            jax.random.key(0), model, cond=cond, objective=objective, target=(target, measured, even),
            guidance=tfg.TFG(), sampler=SAMPLERS["ddim"](STEPS, GRID),
        ).status.code  # fmt: skip

    y = jnp.asarray(np.concatenate([problems.MEASUREMENTS] * 2)[:3], jnp.float32)
    assert run(jnp.array([0, 1, 0]), jnp.array([0, 1, 2]), y).tolist() == [0, 0, 0]
    assert run(jnp.array([0, 2, 0]), jnp.array([0, 1, 3]), y.at[0, 0].set(jnp.nan)).tolist() == [2, 2, 2]
    assert run(jnp.array([0, 1, 0]), jnp.array([0, 1, 2]), y, jnp.array([0, 1, 2])).tolist() == [0, 2, 0]


@tfg.struct.dataclass
class OfEvenNumbers:
    """One's own objective says itself which targets can be meant."""

    noisy = False

    def check(self, target, num_samples, shape):
        pass

    def usable(self, target):
        return target % 2 == 0

    def __call__(self, x0, target):
        return -((x0.sum() - target) ** 2)


def labelled(schedule, x, t, cond):
    return problems.eps_network(schedule, x, t, None) + 0.01 * cond


def test_record_keeps_chosen_states_and_summaries():
    summary = lambda ctx: {"t": ctx.now.t, "norm": jnp.linalg.norm(ctx.x), "value": ctx.objective(ctx.denoised.x0)}  # noqa: E731
    every = draw([NEVER] * 3, "mpgd", record=tfg.Record(steps=(0, 1, 2, 3)))
    some = draw([NEVER] * 3, "mpgd", record=tfg.Record(steps=(3, 1), summary=summary))
    assert some.info["x"].shape == some.info["x0"].shape == (3, 2, D)
    np.testing.assert_array_equal(some.info["x"], every.info["x"][:, jnp.array([3, 1])])
    np.testing.assert_array_equal(some.info["x"][:, 0], some.x)
    np.testing.assert_allclose(some.info["summary"]["t"], np.stack([TIMES[:-1]] * 3), rtol=1e-6)
    # The state a step sees is the state after the step before.
    np.testing.assert_allclose(
        some.info["summary"]["norm"][:, 1:], jnp.linalg.norm(every.info["x"][:, :-1], axis=-1), rtol=1e-6
    )
    value = jax.vmap(problems.class_objective())(every.info["x0"][:, 2], jnp.array([0, 2, 0]))
    np.testing.assert_allclose(some.info["summary"]["value"][:, 2], value, rtol=1e-4)
    assert draw([NEVER] * 3, "mpgd").info == {}


@pytest.mark.parametrize("method", ["freedom", "mpgd"])
def test_outside_its_window_guidance_is_absent(method):
    n_recur = METHODS[method][0](1.0).n_recur
    plain = draw([NEVER] * 3, n_recur)
    shut = draw([NEVER] * 3, method, window=(50.0, 60.0))
    np.testing.assert_allclose(shut.x, plain.x, rtol=1e-6, atol=1e-6)
    assert not np.any(shut.cost.pullbacks) and not np.any(shut.cost.objective)
    open_ = draw([NEVER] * 3, method, window=(-50.0, 50.0))
    np.testing.assert_allclose(open_.x, draw([NEVER] * 3, method).x, rtol=1e-5, atol=1e-6)
    log_snr = np.asarray(SCHEDULE.log_snr(jnp.asarray(TIMES[:-1])))
    half = draw([NEVER] * 3, method, window=(float(log_snr[1:3].min()) - 0.1, float(log_snr[1:3].max()) + 0.1))
    np.testing.assert_array_equal(np.asarray(half.cost.objective) * 2, open_.cost.objective)
