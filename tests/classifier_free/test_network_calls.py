"""The cost of a run with a transform is the number of network calls it makes, counted inside the compiled program."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg

SAMPLES, STEPS = 2, 3
TIMES = (0.9, 0.6, 0.3, 0.0)
CALLS: Counter = Counter()


def _tick(name, *parts):
    # Of all arguments, so that each member of every mapped axis calls by itself.
    jax.debug.callback(lambda _: CALLS.update([name]), sum(jnp.sum(part) for part in parts))


@jax.custom_vjp
def _net(x, cond):
    return _forward(x, cond)[0]


def _forward(x, cond):
    _tick("forwards", x, cond)
    return jnp.tanh(x + cond), (x, cond)


def _backward(saved, cotangent):
    x, cond = saved
    _tick("pullbacks", x, cond, cotangent)
    return (1.0 - jnp.tanh(x + cond) ** 2) * cotangent, jnp.zeros_like(cond)


_net.defvjp(_forward, _backward)


def _network(params, x, t, cond):
    return _net(x, cond * 0.3)


def _level_free(x, level):
    return jnp.zeros(3)


def _near(_, x0, target):
    return -jnp.sum((x0 - target) ** 2)


MODEL = tfg.from_fn(_network, None, tfg.VPLinear(), prediction="eps", shape=(2,), num_classes=3, null_cond=3)
BLIND = MODEL.replace(null_cond=None)  # type: ignore[attr-defined]
MIDDLE = tuple(float(tfg.VPLinear().log_snr(t)) for t in (0.7, 0.2))  # the steps from 0.6 and from 0.3
CFG = tfg.CFG(MODEL, 1.5)
DDIM = lambda **o: tfg.DDIM(**o)  # noqa: E731

# transform, sampler, window, expected forwards of a run of 3 steps
RUNS = {
    "off": (tfg.CFG(MODEL, None), DDIM, None, 3),
    "cfg": (CFG, DDIM, None, 6),
    "interval": (tfg.GuidanceInterval(CFG, *MIDDLE), DDIM, None, 5),
    "interval_heun": (tfg.GuidanceInterval(CFG, *MIDDLE), tfg.Heun, None, 9),
    "window": (CFG, DDIM, MIDDLE, 6),
    "apg_interval": (tfg.GuidanceInterval(tfg.APG(MODEL, 1.5), *MIDDLE), DDIM, None, 5),
    "zero_star": (tfg.CFGZeroStar(MODEL, 1.5), DDIM, None, 4),
    "perp_neg": (tfg.PerpNeg(MODEL, jnp.array([0, 2]), jnp.array([-1.0, 0.3]), num_others=2), DDIM, None, 12),
    "autoguidance": (tfg.Autoguidance(MODEL, tfg.LowTemperature(MODEL, 1.2), 0.5), DDIM, None, 6),
    "marginal": (tfg.CFG(tfg.Marginalized(BLIND, jax.tree_util.Partial(_level_free)), 1.5), DDIM, None, 9),
    "nested": (tfg.DynamicThresholding(tfg.CFG(CFG, 1.0)), DDIM, None, 9),
}
GUIDED = ("interval", "window", "zero_star", "marginal")  # by TFG, through the network


@pytest.mark.parametrize("name", RUNS)
def test_reported_cost_is_the_real_one(name):
    model, sampler, window, expected = RUNS[name]
    guided = {"guidance": tfg.TFG(rho=0.1, mu=None), "window": window} if name in GUIDED else {}
    if guided:
        guided |= {"objective": tfg.objectives.from_fn(_near), "target": jnp.ones((SAMPLES, 2))}
    sampler = sampler(steps=STEPS, grid=tfg.Explicit(jnp.array(TIMES)))
    CALLS.clear()
    out = tfg.sample(jax.random.key(0), model, cond=jnp.array([0, 1]), sampler=sampler, **guided)
    jax.block_until_ready(out.x)
    jax.effects_barrier()
    assert np.asarray(out.cost.forwards).tolist() == [expected] * SAMPLES
    for kind in ("forwards", "pullbacks"):
        assert np.sum(getattr(out.cost, kind)) == CALLS[kind], (kind, out.cost, CALLS)
    if name == "window":
        assert 0 < np.asarray(out.cost.pullbacks)[0] < 6
    bound = tfg.upper_cost(guided.get("guidance"), None, sampler, model)
    assert expected <= bound.forwards and np.asarray(out.cost.pullbacks)[0] <= bound.pullbacks
    if name in ("off", "cfg", "perp_neg", "autoguidance", "marginal", "nested"):
        assert expected == bound.forwards and np.asarray(out.cost.pullbacks)[0] == bound.pullbacks


def test_the_marginal_of_an_unconditional_run_counts_every_class():
    model = tfg.Marginalized(BLIND, jax.tree_util.Partial(_level_free))
    sampler = tfg.DDIM(steps=STEPS)
    out = tfg.sample(jax.random.key(0), model, num_samples=2, sampler=sampler)
    assert np.asarray(out.cost.forwards).tolist() == [9, 9]
    assert tfg.upper_cost(None, None, sampler, model, conditional=False).forwards == 9
    assert tfg.upper_cost(None, None, sampler, model).forwards == 3


@pytest.mark.parametrize("sampler", [tfg.DDIM, tfg.Heun])
def test_mapped_bounds_compute_both_branches_and_say_so(sampler):
    """The estimates are those of each bound alone; the calls are the real ones."""

    def run(low):
        model = tfg.GuidanceInterval(CFG, low, MIDDLE[1])
        grid = tfg.Explicit(jnp.array(TIMES))
        return tfg.sample(jax.random.key(0), model, cond=jnp.array([0, 1]), sampler=sampler(steps=STEPS, grid=grid))

    lows, found = jnp.array([MIDDLE[0], 50.0]), []
    alone = lambda: jax.tree.map(lambda *a: jnp.stack(a), run(lows[0]), run(lows[1]))  # noqa: E731
    for call in (alone, lambda: jax.vmap(run)(lows)):
        CALLS.clear()
        found.append(call())
        jax.block_until_ready(found[-1].x)
        jax.effects_barrier()
        assert np.sum(found[-1].cost.forwards) == CALLS["forwards"]
    np.testing.assert_allclose(found[1].x, found[0].x, rtol=1e-5, atol=1e-6)
    assert np.all(found[1].cost.forwards > found[0].cost.forwards)
    assert np.isfinite(jax.grad(lambda low: run(low).x.sum())(MIDDLE[0]))
