"""Guidance through longer lookaheads: the unguided distribution at strength 0, real costs, one trace, samples of their
own."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
import test_cost
from problems import METHODS, D

import tfg_jax as tfg

STEPS = 2
HORIZONS = (0.0, 0.6, 1.0)


def learned(params, x, level, cond):
    return jnp.tanh(x) * level.alpha


def draw(method, strength, lookahead, dtype=jnp.float64, model=None, **changes):
    given = problems.arguments(method, strength)
    tape = jax.tree.map(lambda a: a.astype(dtype), problems.tape(STEPS, given["guidance"].n_recur))
    options: dict[str, Any] = {"noise": tape, "sampler": tfg.DDIM(STEPS, grid=tfg.UniformLogSNR(3.0, -5.0))}
    model = problems.denoiser(problems.schedules()["vp_linear"]) if model is None else model
    return tfg.sample(jax.random.key(3), model, lookahead=lookahead, **{**options, **given, **changes})


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("classifier", "tfg", "dps_residual")])
def test_strength_zero_is_the_unguided_distribution_at_every_horizon(method, x64):
    """And strength 1 is another sample at each of them, horizon 0 that of Tweedie."""
    solve = jax.vmap(lambda h, s: draw(method, s, tfg.TruncatedSolve(h, 1)).x, (0, 0))
    x = solve(jnp.asarray([*HORIZONS, *HORIZONS]), jnp.asarray([0.0] * 3 + [0.5] * 3))
    n_recur = METHODS[method][0](1.0).n_recur
    plain = draw(n_recur, 0.0, None).x
    np.testing.assert_allclose(x[:3], jnp.broadcast_to(plain, (3, *plain.shape)), atol=1e-12)
    np.testing.assert_allclose(x[3], draw(method, 0.5, None).x, atol=1e-11)
    assert np.abs(np.diff(x[3:], axis=0)).max(axis=(1, 2)).min() > 1e-5


def test_a_sweep_over_horizon_strength_and_target_traces_once():
    traced = []

    def network(schedule, x, t, cond):
        traced.append(1)
        return problems.eps_network(schedule, x, t, cond)

    model = tfg.from_fn(network, tfg.VPLinear(), tfg.VPLinear(), prediction="eps", shape=(D,))
    run = lambda h=0.5, s=0.5, y=(0, 2), m=None: draw(  # noqa: E731
        "dps", s, tfg.TruncatedSolve(h, 2, margin=m), jnp.float32, model, target=jnp.asarray(y)
    )
    first = run()
    before = len(traced)
    others = [run(h=h) for h in HORIZONS] + [run(s=0.1), run(y=(1, 1))]
    assert len(traced) == before > 0
    for other in others:
        assert other.status.ok.all() and np.abs(other.x - first.x).max() > 1e-5
    swept = jax.vmap(lambda h: run(h).x)(jnp.asarray(HORIZONS))
    np.testing.assert_allclose(swept, jnp.stack([other.x for other in others[:3]]), rtol=1e-4, atol=1e-5)


# lookahead -> forwards of an evaluation, pullbacks of a pullback, forwards it repeats; with 3 steps.
COSTS = {
    "tweedie": (tfg.Tweedie(), 1, 1, 0),
    "euler": (tfg.TruncatedSolve(0.5, 3, "euler"), 4, 4, 0),
    "midpoint": (tfg.TruncatedSolve(0.5, 3), 7, 7, 0),
    "horizon zero": (tfg.TruncatedSolve(0.0, 3), 7, 7, 0),
    "step by step": (tfg.TruncatedSolve(0.5, 3, "heun", remat="step"), 7, 7, 6),
    "another tableau, step by step": (tfg.TruncatedSolve(0.5, 3, "ralston", remat="step"), 7, 7, 6),
    "no tail": (tfg.TruncatedSolve.whole(3), 6, 6, 0),
    "no tail, step by step": (tfg.TruncatedSolve.whole(3, remat="step"), 6, 6, 4),
    "denoiser": (tfg.TruncatedSolve(0.5, 3, jacobian="denoiser"), 7, 1, 0),
    "identity": (tfg.TruncatedSolve(0.5, 3, jacobian="identity"), 7, 0, 0),
    "learned": (tfg.FlowMap(learned), 2, 1, 0),
    "checkpoints": (tfg.TruncatedSolve(0.5, 3, diffrax.Heun()), 8, 7, 6),
    "two checkpoints": (tfg.TruncatedSolve(0.5, 3, diffrax.Heun(), diffrax.RecursiveCheckpointAdjoint(2)), 8, 7, 8),
    "direct": (tfg.TruncatedSolve(0.5, 3, diffrax.Euler(), diffrax.DirectAdjoint()), 5, 4, 0),
    "backsolve": (tfg.TruncatedSolve(0.5, 3, diffrax.Bosh3(), diffrax.BacksolveAdjoint()), 12, 11, 10),
}


@pytest.mark.parametrize("name", COSTS)
def test_the_cost_is_the_real_one(name):
    lookahead, forwards, pullbacks, repeated = COSTS[name]
    assert (lookahead.cost.forwards, lookahead.cost.pullbacks) == (forwards, pullbacks)
    assert getattr(lookahead, "recomputed", 0) == repeated
    if name == "learned":
        return  # its own network is not the one that is counted
    test_cost.CALLS.clear()
    sampler = tfg.DDIM(1, grid=tfg.Explicit(jnp.array([0.6, 0.1])))
    out = tfg.sample(
        jax.random.key(0), test_cost.MODEL, num_samples=2, guidance=tfg.DPS(0.1), objective=test_cost.CLEAN,
        lookahead=lookahead, sampler=sampler, noise=problems.tape(1),
    )  # fmt: skip
    jax.block_until_ready(out.x)
    jax.effects_barrier()
    reported = {kind: np.asarray(getattr(out.cost, kind)) for kind in ("forwards", "pullbacks", "objective")}
    bound = tfg.upper_cost(tfg.DPS(0.1), lookahead, sampler)
    for kind, each in reported.items():
        assert each.sum() == test_cost.CALLS[kind] and (each == getattr(bound, kind)).all(), (kind, each)
    assert reported["forwards"][0] == forwards + repeated


def test_what_is_not_pulled_back_is_not_repeated():
    """MPGD takes no pullback; a method with recurrences takes one each."""
    evaluation = tfg.TruncatedSolve(0.5, 4, remat="step")
    assert tfg.upper_cost(tfg.MPGD(), evaluation, tfg.DDIM(10)).forwards == 90
    cost = tfg.upper_cost(tfg.FreeDoM(n_recur=3), evaluation, tfg.DDIM(10))
    assert (cost.forwards, cost.pullbacks) == (30 * (9 + 8), 270)
    calls = [tfg.TruncatedSolve(h, max(1, int(np.ceil(8 * h)))).cost.forwards for h in (0.0, 0.3, 0.6, 1.0)]
    assert calls == sorted(set(calls))


@pytest.mark.parametrize("sampler", [tfg.DDIM(3), tfg.Heun(3)], ids=["ddim", "heun"])
def test_a_mapped_window_computes_both_sides_and_says_so(sampler):
    """With a shared bound the work outside is skipped; mapped over bounds it is done and thrown away."""

    def run(low):
        return tfg.sample(
            jax.random.key(0), test_cost.MODEL, num_samples=2, guidance=tfg.TFG(n_iter=2, n_recur=2),
            objective=test_cost.CLEAN, sampler=sampler, window=(low, 2.0), noise=problems.tape(3, 2, 1),
            lookahead=tfg.TruncatedSolve(0.5, 1),
        )  # fmt: skip

    lows = jnp.array([-6.0, 0.0])
    found = []
    for call in (
        lambda: jax.tree.map(lambda *a: jnp.stack(a), run(lows[0]), run(lows[1])),
        lambda: jax.vmap(run)(lows),
    ):
        test_cost.CALLS.clear()
        out = call()
        jax.block_until_ready(out.x)
        jax.effects_barrier()
        for kind in ("forwards", "pullbacks", "objective"):
            assert np.sum(getattr(out.cost, kind)) == test_cost.CALLS[kind], kind
        found.append(out)
    np.testing.assert_allclose(found[1].x, found[0].x, rtol=1e-5, atol=1e-6)
    assert np.all(found[1].cost.pullbacks > found[0].cost.pullbacks)
    gradient = jax.grad(lambda s: jnp.sum(draw("dps", s, None, jnp.float32, window=(-3.0, 9.0)).x))(0.3)
    assert np.isfinite(gradient)


def test_samples_do_not_meet_in_a_lookahead(x64):
    """Sample i is the same in a batch of 1, of 8, and of 8 in another order, to round-off."""
    model = problems.denoiser(problems.schedules()["vp_cosine"])
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.standard_normal((8, D))), jnp.asarray(rng.integers(3, size=8), jnp.int32)

    def run(order):
        return tfg.sample(
            jax.random.key(0), model, start=(x[order], 0.9), sampler=tfg.DDIM(2, eta=None), guidance=tfg.DPS(0.5),
            objective=problems.class_objective(), target=y[order], lookahead=tfg.TruncatedSolve(0.7, 2),
        ).x  # fmt: skip

    every, order = run(np.arange(8)), np.array([3, 1, 7, 0, 2, 6, 5, 4])
    np.testing.assert_allclose(run(order), every[order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(run(np.array([5])), every[5:6], rtol=0, atol=1e-12)


def test_one_bad_sample_does_not_touch_the_others(x64):
    """Non-finite in one sample's solve: its status, nothing else."""

    def network(params, x, t, cond):
        return jnp.where(x[0] > 5.0, jnp.nan, 1.0) * jnp.tanh(x)

    model = tfg.from_fn(network, None, tfg.VPLinear(), prediction="x0", shape=(D,))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, D)))
    run = lambda x: tfg.sample(  # noqa: E731
        jax.random.key(0), model, start=(x, 0.9), sampler=tfg.DDIM(2, eta=None), guidance=tfg.DPS(0.5),
        objective=problems.class_objective(), target=jnp.zeros(3, jnp.int32), lookahead=tfg.TruncatedSolve(0.7, 2),
    )  # fmt: skip
    good, bad = run(x), run(x.at[1, 0].set(9.0))
    np.testing.assert_array_equal(bad.status.code, [0, 1, 0])
    np.testing.assert_array_equal(bad.x[np.array([0, 2])], good.x[np.array([0, 2])])


def test_errors_reach_the_public_entry():
    for lookahead, message in (
        (lambda: tfg.TruncatedSolve(1.5), "horizon=1.5 must be"),
        (lambda: tfg.TruncatedSolve(0.5, 0), "steps=0 must be an integer >= 1"),
        (lambda: tfg.TruncatedSolve(0.5, 2, diffrax.Heun(), diffrax.ImplicitAdjoint()), "drops the gradient"),
    ):
        with pytest.raises(ValueError, match=message):
            draw("dps", 0.5, lookahead(), jnp.float32)
    with pytest.raises(ValueError, match="lookahead has no effect on ClassifierGuidance"):
        draw("classifier", 0.5, tfg.TruncatedSolve(0.5), jnp.float32)
