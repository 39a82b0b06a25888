"""The cost a run reports is the number of calls it really makes, counted inside the compiled program."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import D

import tfg_jax as tfg

STEPS, SAMPLES = 3, 2
CALLS: Counter = Counter()


def _count(name, x):
    CALLS[name] += 1


def _tick(name, x):
    jax.debug.callback(lambda x: _count(name, x), jnp.sum(x))


@jax.custom_vjp
def _net(x, level):
    return _net_forward(x, level)[0]


def _net_forward(x, level):
    _tick("forwards", x)
    return jnp.tanh(x) * level, (x, level)


def _net_backward(saved, cotangent):
    x, level = saved
    _tick("pullbacks", cotangent)
    return (1.0 - jnp.tanh(x) ** 2) * level * cotangent, jnp.zeros_like(level)


_net.defvjp(_net_forward, _net_backward)


@jax.custom_vjp
def _value(x):
    return -jnp.sum((x - 0.5) ** 2)


def _value_backward(x, cotangent):
    _tick("objective", x)  # the cotangent is 1 for every sample, so it would be counted once
    return (-2.0 * (x - 0.5) * cotangent,)


_value.defvjp(lambda x: (_value(x), x), _value_backward)


def network(params, x, t, cond):
    return _net(x, t)


def value(params, x0, target):
    return _value(x0)


def noisy_value(params, x, target, level):
    return _value(x)


class Residual:
    """An objective with a measurement residual, for the DPS of the paper and for PiGDM."""

    noisy = False

    def check(self, target, num_samples, shape):
        pass

    def with_residual(self, x0, target):
        return _value(x0), jnp.sqrt(jnp.sum((x0 - 0.5) ** 2) + 1e-3)

    def measurement_gradient(self, x0, target, variance):
        return jax.grad(_value)(x0)

    def __call__(self, x0, target):
        return _value(x0)


jax.tree_util.register_static(Residual)
MODEL = tfg.from_fn(network, None, tfg.VPLinear(), prediction="eps", shape=(D,))
CLEAN = tfg.objectives.from_fn(value)
NOISY = tfg.objectives.from_fn(noisy_value, noisy=True)
DDIM = tfg.DDIM(steps=STEPS)

RUNS = {
    "unguided": (None, DDIM, None),
    "unguided_recur": (tfg.Unguided(n_recur=3), DDIM, None),
    "tfg": (tfg.TFG(n_iter=3), DDIM, None),
    "tfg_full": (tfg.TFG(n_iter=2, smoothing=0.1, n_mc=3, n_recur=2), DDIM, None),
    "tfg_no_rho": (tfg.TFG(rho=None, n_iter=2), DDIM, None),
    "tfg_no_mu": (tfg.TFG(mu=None, smoothing=0.1, n_mc=2), DDIM, None),
    "tfg_nothing": (tfg.TFG(rho=None, mu=None), DDIM, None),
    "dps": (tfg.DPS(strength=0.1), DDIM, None),
    "dps_residual": (tfg.DPS(strength=0.1, normalize="residual"), DDIM, None),
    "pigdm": (tfg.PiGDM(strength=0.1), DDIM, None),
    "pigdm_score": (tfg.PiGDM(strength=0.1, weighting="score"), DDIM, None),
    "gradient": (tfg.GradientGuidance(), DDIM, None),
    "naive_gradient": (tfg.NaiveGradientGuidance(), DDIM, None),
    "lgd": (tfg.LGD(strength=0.1, n_mc=2), DDIM, None),
    "freedom": (tfg.FreeDoM(strength=0.1, n_recur=2), DDIM, None),
    "mpgd": (tfg.MPGD(strength=0.1), DDIM, None),
    "ugd": (tfg.UGD(strength=0.1, n_iter=3, n_recur=2), DDIM, None),
    "ugd_forward_only": (tfg.UGD(strength=0.1, n_iter=1), DDIM, None),
    "classifier": (tfg.ClassifierGuidance(strength=0.1), DDIM, None),
    "inner": (tfg.InnerSteps(strength=0.1, n_inner=3), DDIM, None),
    "inner_window": (tfg.InnerSteps(strength=0.1), tfg.Heun(steps=STEPS), (-6.0, 2.0)),
    "heun": (tfg.TFG(n_iter=2), tfg.Heun(steps=STEPS), None),
    "heun_recur": (tfg.FreeDoM(strength=0.1, n_recur=2), tfg.Heun(steps=STEPS), None),
    "heun_unguided": (None, tfg.Heun(steps=STEPS), None),
    "dpmpp": (tfg.TFG(n_iter=2), tfg.DPMSolverPP2M(steps=STEPS), None),
    "churn": (tfg.TFG(n_iter=2), tfg.Euler(steps=STEPS, churn=tfg.Churn()), None),
    "window": (tfg.TFG(n_iter=2, n_recur=2), DDIM, (-6.0, 2.0)),
    "window_shut": (tfg.TFG(n_iter=2), DDIM, (50.0, 60.0)),
    "clip": (tfg.TFG(n_iter=2), DDIM, None),
}


@pytest.mark.parametrize("name", RUNS)
def test_reported_cost_is_the_real_one(name):
    guidance, sampler, window = RUNS[name]
    guided = guidance is not None and not isinstance(guidance, tfg.Unguided)
    measured = name in ("dps_residual", "pigdm", "pigdm_score")
    objective = NOISY if name == "classifier" else Residual() if measured else CLEAN
    given: Any = {"objective": objective} if guided else {}
    n_mc = getattr(guidance, "n_mc", None) or 1
    tape = problems.tape(STEPS, 1 if guidance is None else guidance.n_recur, n_mc, SAMPLES)
    CALLS.clear()
    out = tfg.sample(
        jax.random.key(0), MODEL, num_samples=SAMPLES, guidance=guidance, sampler=sampler, window=window,
        clip=tfg.Clip() if name == "clip" else None, noise=tape, **given,
    )  # fmt: skip
    jax.block_until_ready(out.x)
    jax.effects_barrier()
    reported = {kind: np.asarray(getattr(out.cost, kind)) for kind in ("forwards", "pullbacks", "objective")}
    for kind, each in reported.items():
        assert each.shape == (SAMPLES,) and each.dtype == np.int32
        assert each.sum() == CALLS[kind], f"{kind}: reported {each}, counted {CALLS[kind]} for {SAMPLES} samples"
    bound = tfg.upper_cost(guidance, None, sampler)
    assert all(reported[kind].max() <= getattr(bound, kind) for kind in reported)
    if window is None and not isinstance(sampler, tfg.Heun):
        assert all(reported[kind].max() == getattr(bound, kind) for kind in reported)
    if name == "window":
        assert 0 < reported["pullbacks"].max() < bound.pullbacks
    if name == "window_shut":
        assert reported["pullbacks"].max() == 0 and reported["forwards"].max() == STEPS
