"""Mistakes are ValueErrors that name the argument and the fix."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_classes import network

import tfg_jax as tfg

MODEL = network()
LABELS = jnp.array([0, 2])


def refused(match, model, cond: Any = LABELS, **options):
    """A transform that cannot be meant is given as a function that makes it: it is refused where it is written."""
    with pytest.raises(ValueError, match=match):
        model = (
            model() if isinstance(model, functools.partial) or getattr(model, "__name__", "") == "<lambda>" else model
        )
        tfg.sample(jax.random.key(0), model, cond=cond, **{"num_samples": 2, "sampler": tfg.DDIM(steps=2), **options})


@pytest.mark.parametrize("bad", [np.nan, np.inf, jnp.array(-jnp.inf), tfg.PerSample(jnp.array([1.0, np.nan]))])
def test_weights_must_be_finite(bad):
    for transform in (tfg.CFG, tfg.APG):
        refused("w=.* must be a finite number", functools.partial(transform, MODEL, bad))


def test_one_weight_a_sample():
    refused("one entry for 2 samples", tfg.CFG(MODEL, tfg.PerSample(jnp.ones(3))))
    refused("must hold 2 weights", lambda: tfg.ComposedCFG(MODEL, jnp.ones(3), 2), jnp.zeros((2, 2), jnp.int32))
    refused("num_others=1 needs", lambda: tfg.PerpNeg(MODEL, jnp.array([0, 1]), jnp.ones(1)))


FOUR = jnp.array([0.0, 1.0, 2.0, 4.0])
# What an array in the place of a number would do is broadcast over the entries of every sample.
WITH_ARRAYS = {
    "CFG": lambda w: tfg.CFG(MODEL, w),
    "CFG by a function": lambda w: tfg.CFG(MODEL, jax.tree_util.Partial(_twice, w)),
    "CFG one array a sample": lambda w: tfg.CFG(MODEL, tfg.PerSample(jnp.stack([w, w]))),
    "APG": lambda w: tfg.APG(MODEL, w),
    "APG.eta": lambda w: tfg.APG(MODEL, eta=w),
    "APG.momentum": lambda w: tfg.APG(MODEL, momentum=w),
    "APG.radius": lambda w: tfg.APG(MODEL, radius=w),
    "CFG++": lambda w: tfg.CFGPlusPlus(MODEL, w),
    "CFG-Zero*": lambda w: tfg.CFGZeroStar(MODEL, w),
    "rescaled": lambda w: tfg.RescaledCFG(MODEL, w),
    "rescaled.phi": lambda w: tfg.RescaledCFG(MODEL, phi=w),
    "perp-neg": lambda w: tfg.PerpNeg(MODEL, jnp.array([1]), jnp.array([-1.0]), w),
    "autoguidance": lambda w: tfg.Autoguidance(MODEL, MODEL, w),
    "temperature": lambda w: tfg.LowTemperature(MODEL, w),
    "percentile": lambda w: tfg.DynamicThresholding(MODEL, w),
    "largest": lambda w: tfg.DynamicThresholding(MODEL, largest=w),
    "interval": lambda w: tfg.GuidanceInterval(tfg.CFG(MODEL), w),
    "nested": lambda w: tfg.GuidanceInterval(tfg.CFG(MODEL, w)),
}


def _twice(w, log_snr):
    return w


@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_an_array_where_one_number_is_meant(name):
    several = r"shape \(.*\b4,?\).* (one number|entries of shape)"
    refused(several, functools.partial(WITH_ARRAYS[name], FOUR))


def test_one_number_a_sample_in_every_place():
    """What is refused as an array is one setting a sample as `PerSample`: as two single runs."""
    each = [tfg.APG(MODEL, 1.0, eta=eta, radius=2.0) for eta in (0.0, 0.7)]
    eta: Any = tfg.PerSample(jnp.array([0.0, 0.7]))
    mixed = tfg.APG(MODEL, 1.0, eta=eta, radius=2.0)
    draw = lambda model: tfg.sample(jax.random.key(0), model, cond=LABELS, sampler=tfg.DDIM(steps=2)).x  # noqa: E731
    np.testing.assert_allclose(draw(mixed), jnp.stack([draw(each[0])[0], draw(each[1])[1]]), rtol=1e-5, atol=1e-6)


def test_a_model_without_null_condition_is_told_of_marginalization():
    for transform in (tfg.CFG, tfg.APG, tfg.CFGPlusPlus, tfg.RescaledCFG, tfg.CFGZeroStar):
        refused(r"no null condition; marginalize .*Marginalized\(", transform(network(null=False), 1.0))
    with pytest.raises(ValueError, match="marginalize"):
        tfg.implicit_classifier_score(network(null=False), jnp.ones(3), 0.5, jnp.int32(0))
    tfg.CFG(network(null=False), 1.0, negative=1).check(True, 2)  # needs none


def test_guidance_off_takes_no_negative_condition():
    refused("negative has no effect with w=None", lambda: tfg.CFG(MODEL, None, negative=1))
    refused("negative has no effect with w=0", lambda: tfg.CFG(MODEL, 0.0, negative=1))
    refused("others have no effect with w=None", lambda: tfg.PerpNeg(MODEL, jnp.array([0]), jnp.ones(1), w=None))


def test_conditions_out_of_range():
    refused("cond holds class 3", tfg.CFG(MODEL, 1.0), jnp.array([0, 3]))
    refused("negative=.* must be classes in 0..2", lambda: tfg.CFG(MODEL, 1.0, negative=3))
    refused(
        "negative=.* must be classes in 0..2", lambda: tfg.CFG(MODEL, 1.0, negative=tfg.PerSample(jnp.array([0, -1])))
    )
    refused(r"cond must be \(2, 2\) integer classes", lambda: tfg.ComposedCFG(MODEL, jnp.ones(2), 2))
    refused("cond=None, but CFG guides towards a condition", tfg.CFG(MODEL, 1.0), None)

    @jax.jit
    def status(cond):
        model = tfg.ComposedCFG(MODEL, jnp.zeros(2), 2)
        return tfg.sample(jax.random.key(0), model, cond=cond, sampler=tfg.DDIM(steps=2)).status.code

    assert status(jnp.array([[0, 2], [1, 3]])).tolist() == [0, 2]


def test_cfgpp_where_its_noise_would_be_undone():
    model = tfg.CFGPlusPlus(MODEL, 0.5)
    refused("sampler=Heun", model, sampler=tfg.Heun(steps=2))
    asked: dict[str, Any] = {"objective": _near, "target": jnp.ones((2, 3))}
    refused("guidance=UGD", model, guidance=tfg.UGD(1.0), **asked)
    refused("lookahead=TruncatedSolve", model, guidance=tfg.TFG(), lookahead=tfg.TruncatedSolve(0.5), **asked)
    refused("re-noises in its own way", lambda: tfg.GuidanceInterval(model, 0.0, 1.0))
    with pytest.raises(ValueError, match="no probability flow for inversion"):
        tfg.invert(model, jnp.ones((2, 3)), cond=LABELS)
    with pytest.raises(ValueError, match="has memory"):
        tfg.invert(tfg.APG(MODEL), jnp.ones((2, 3)), cond=LABELS)


def _near(x0, target):
    return -jnp.sum((x0 - target) ** 2)


def test_numbers_out_of_range():
    refused("phi=.* must be", lambda: tfg.RescaledCFG(MODEL, 1.0, phi=1.5))
    refused("radius=.* must be", lambda: tfg.APG(MODEL, 1.0, radius=0.0))
    refused("momentum=.* must be", lambda: tfg.APG(MODEL, 1.0, momentum=np.nan))
    refused("space='pixels'", lambda: tfg.APG(MODEL, 1.0, space="pixels"))  # type: ignore[arg-type]
    refused("percentile=.* must be", lambda: tfg.DynamicThresholding(MODEL, 99.5))
    refused("largest=.* must be", lambda: tfg.DynamicThresholding(MODEL, 0.9, 0.5))
    refused("temperature=.* must be", lambda: tfg.LowTemperature(MODEL, 0.0))
    refused("zero_steps=-1 must be", lambda: tfg.CFGZeroStar(MODEL, 1.0, zero_steps=-1))
    refused("low=nan must be a number, or infinite", lambda: tfg.GuidanceInterval(tfg.CFG(MODEL, 1.0), np.nan, 1.0))
    per_sample: Any = tfg.PerSample(jnp.ones(2))
    refused(
        "low must be one number for all samples", lambda: tfg.GuidanceInterval(tfg.CFG(MODEL, 1.0), per_sample, 1.0)
    )
    refused("has no guidance to bound", lambda: tfg.GuidanceInterval(MODEL, 0.0, 1.0))


def test_a_weak_model_of_another_kind():
    refused("weak has shape", lambda: tfg.Autoguidance(MODEL, network(d=4)))
    refused("weak is on EDM", lambda: tfg.Autoguidance(MODEL, network(tfg.EDM())))
    refused("weak has memory", lambda: tfg.Autoguidance(MODEL, tfg.APG(MODEL)))
    plain = tfg.from_fn(lambda p, x, t, c: x, None, tfg.VPLinear(), prediction="eps", shape=(3,))
    refused("no classes to marginalize", lambda: tfg.Marginalized(plain, jax.tree_util.Partial(_near)))
