"""Configurations to JSON and back."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tfg_jax as tfg
from tfg_jax.config import from_dict, library_classes, to_dict


def log_posterior(x, level):
    return x


MODEL, WEAK = (
    tfg.from_fn(lambda params, x, t, cond: x * t, None, tfg.VPLinear(), prediction="eps", shape=(3,),
                num_classes=3, null_cond=2)
    for _ in range(2)
)  # fmt: skip
GIVEN = {"model": MODEL, "weak": WEAK, "log_posterior": jax.tree_util.Partial(log_posterior)}
# One object of every class, with every field away from its default.
EXAMPLES = (
    tfg.Unguided(n_recur=3),
    tfg.ClassifierGuidance(strength=2.5),
    tfg.DPS(strength=0.3, normalize="residual"),
    tfg.PiGDM(strength=0.7, data_std=0.6, weighting="score"),
    tfg.FreeDoM(strength=0.2, n_recur=4, structure="constant"),
    tfg.GradientGuidance(noise_std=0.2, beta="exact", beta_coef=3.0),
    tfg.NaiveGradientGuidance(noise_std=None, beta="constant", beta_coef=0.5),
    tfg.LGD(strength=0.7, n_mc=3),
    tfg.MPGD(strength=0.4),
    tfg.TFG(
        rho=0.5, mu=2.0, smoothing=0.1, n_iter=2, n_mc=5, n_recur=2, rho_structure="decrease", mu_structure="constant",
        smoothing_structure="constant",
    ),
    tfg.UGD(strength=0.6, n_iter=7, n_recur=2),
    tfg.Clip(low=-2.0, high=3.0, gradient="outside"),
    tfg.Tweedie(),
    tfg.DDIM(steps=7, eta=0.25, grid=tfg.Leading(num_nodes=500, offset=1, end_at_data=False)),
    tfg.DDPM(steps=8, v=0.5, grid=tfg.Trailing(num_nodes=40)),
    tfg.Churn(amount=3.0, low=0.1, high=9.0, noise_scale=1.5),
    tfg.Euler(steps=9, grid=tfg.Karras(sigma_min=0.01, sigma_max=70.0, exponent=5.0), churn=tfg.Churn(amount=2.0)),
    tfg.Heun(steps=4, grid=tfg.Linspace(num_nodes=30), churn=tfg.Churn(low=0.2)),
    tfg.DPMSolverPP2M(steps=6, grid=tfg.UniformLogSNR(log_snr_max=9.0, log_snr_min=-8.0)),
    tfg.EDM(sigma_max=40.0),
    tfg.VE(sigma_min=0.02, sigma_max=30.0),
    tfg.from_alphas_cumprod(np.array([0.9, 0.5, 0.1])),
    tfg.RectifiedFlow(t_start=0.99),
    tfg.VPCosine(offset=0.01, t_start=0.9),
    tfg.VPTruncatedCosine(log_snr_min=-15.0),
    tfg.VPLinear(beta_min=0.2, beta_max=15.0),
    tfg.VPPolynomial(floor=1e-4),
    tfg.Explicit(jnp.array([0.9, 0.5, 0.0])),
    tfg.Karras(sigma_min=0.01, sigma_max=None, exponent=5.0),
    tfg.Leading(num_nodes=100, offset=2, end_at_data=False),
    tfg.Linspace(num_nodes=5),
    tfg.Trailing(num_nodes=6),
    tfg.Uniform(),
    tfg.UniformLogSNR(log_snr_max=3.0, log_snr_min=-3.0),
    tfg.CosineLogSNR(log_snr_min=None, log_snr_max=9.0),
    tfg.DDIM(steps=2, eta=None, grid=tfg.Explicit(jnp.array([0.8, 0.4, 0.0]))),
    tfg.TFG(rho=None, mu=1.0),
    tfg.InnerSteps(strength=0.2, n_inner=5),
    tfg.Reach(s=0.8),
    tfg.DFlow(tfg.TruncatedSolve(1.0, 3), iterations=2, regularizer=0.5, tolerance=1e-3, line_search=4),
    tfg.Controls(steps=5, kind="kick", weight=0.1, iterations=3, line_search=6, solver="heun", grid=tfg.Karras()),
    tfg.TruncatedSolve(horizon=0.5, steps=8, solver="ralston", remat="step", margin=1e-2),
    tfg.TruncatedSolve(None, 2, jacobian="denoiser"),
    tfg.TruncatedSolve(tfg.Reach(0.7), remat="step"),
    tfg.Clip(-jnp.inf, 1.0),
    tfg.CFG(MODEL, w=1.5, negative=2, batched=False),
    tfg.CFG(MODEL, tfg.PerSample(jnp.array([0.5, 2.0])), tfg.PerSample(jnp.array([0, 1]))),
    tfg.PerSample(jnp.array([0.5, 2.0])),
    tfg.GuidanceInterval(tfg.APG(MODEL, 2.0, eta=0.1, momentum=None, radius=3.0, space="v", batched=False), -2.0),
    tfg.Autoguidance(MODEL, tfg.CFG(WEAK, 0.5), w=2.0),
    tfg.APG(MODEL, 2.0),
    tfg.CFGPlusPlus(MODEL, 0.3, batched=False),
    tfg.CFGZeroStar(MODEL, 0.3, zero_steps=2, batched=False),
    tfg.ComposedCFG(MODEL, jnp.array([0.5, -0.5]), 2, batched=False),
    tfg.PerpNeg(MODEL, jnp.array([0, 1]), jnp.array([-1.0, 0.5]), 0.7, 2, batched=False),
    tfg.RescaledCFG(MODEL, 0.3, phi=0.1, space="x0", batched=False),
    tfg.LowTemperature(MODEL, 0.8),
    tfg.DynamicThresholding(MODEL, 0.9, largest=2.0),
    tfg.CFG(tfg.Marginalized(MODEL, jax.tree_util.Partial(log_posterior)), 2.0),
)  # fmt: skip


def same(a, b):
    assert type(a) is type(b) and jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x, np.float32), np.asarray(y, np.float32), rtol=0, atol=0)


def test_every_class_has_an_example():
    assert {type(example) for example in EXAMPLES} | {tfg.Marginalized, tfg.FlowMap} == set(library_classes())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_round_trip(example):
    text = tfg.to_json(example)
    back = tfg.from_json(text, **{name: given for name, given in GIVEN.items() if f'"given": "{name}"' in text})
    same(example, back)
    assert tfg.to_json(back) == text and json.loads(text)["type"] == type(example).__name__


def test_collections_and_arrays():
    pair = from_dict(json.loads(json.dumps(to_dict((tfg.MPGD(0.1), tfg.DDIM(steps=3))))))
    same(pair[0], tfg.MPGD(0.1))
    same(pair[1], tfg.DDIM(steps=3))
    assert json.loads(tfg.to_json(tfg.MPGD(jnp.float32(0.5))))["strength"] == 0.5
    assert "\n" in tfg.to_json(tfg.MPGD(0.1), indent=2)


def test_a_short_text_means_the_defaults():
    same(tfg.from_json('{"type": "TFG", "rho": 2.0}'), tfg.TFG(rho=2.0))


def test_a_configuration_from_json_runs_as_the_original():
    model = tfg.from_fn(lambda params, x, t, cond: x * t, None, tfg.VPLinear(), prediction="eps", shape=(2,))
    sampler = tfg.DDIM(steps=2, eta=0.5, grid=tfg.Explicit(jnp.array([0.8, 0.4, 0.0])))
    run = lambda sampler: tfg.sample(jax.random.key(0), model, num_samples=1, sampler=sampler).x  # noqa: E731
    np.testing.assert_allclose(run(tfg.from_json(tfg.to_json(sampler))), run(sampler), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "configuration is not JSON .line 1.*check quotes and commas"),
        ('{"type": "TGF"}', "type='TGF' is unknown; choose one of .*TFG"),
        ('{"rho": 1.0}', "type=None is unknown"),
        ('{"type": "TFG", "ro": 1.0}', "TFG has no field 'ro'; it has rho, mu"),
        ('{"type": "DDIM", "grid": {"type": "os.system"}}', "type='os.system' is unknown"),
    ],
)
def test_bad_texts(text, message):
    with pytest.raises(ValueError, match=message):
        tfg.from_json(text)


@pytest.mark.parametrize("value", [object(), tfg.DDIM, tfg.InnerSteps(optimizer=optax.sgd(0.1))])
def test_what_cannot_be_written(value):
    with pytest.raises(ValueError, match="cannot be written to JSON; use the library's configuration classes"):
        tfg.to_json(value)


def test_numbers_json_does_not_have():
    infinite = jax.tree.map(lambda number: float("nan"), tfg.MPGD())  # what a transformation carries is not checked
    with pytest.raises(ValueError, match="(?i)json"):
        tfg.to_json(infinite)


def test_what_no_file_holds_is_given():
    text = tfg.to_json(tfg.CFG(MODEL, 2.0))
    assert json.loads(text)["model"] == {"given": "model"} and tfg.from_json(text, model=WEAK).model is WEAK
    with pytest.raises(ValueError, match="configuration needs model, which no file holds; pass model="):
        tfg.from_json(text)
    with pytest.raises(ValueError, match="weak has no effect, the configuration asks for .'model'."):
        tfg.from_json(text, model=MODEL, weak=WEAK)
    with pytest.raises(ValueError, match="two networks are called 'weak'"):
        tfg.to_json((tfg.Autoguidance(MODEL, WEAK), tfg.Autoguidance(MODEL, MODEL)))


def test_spellings_of_older_files():
    same(tfg.from_json('{"kind": "VPLinear", "beta_max": 15.0}'), tfg.VPLinear(beta_max=15.0))
    same(tfg.from_json('{"type": "DPS", "normalise": "residual"}'), tfg.DPS(normalize="residual"))


def test_old_names_are_taken_with_a_warning():
    with pytest.warns(DeprecationWarning, match="is called normalize"):
        assert tfg.DPS(normalise="residual") == tfg.DPS(normalize="residual")  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="is called regularizer"):
        assert tfg.DFlow(regulariser=1.0) == tfg.DFlow(regularizer=1.0)  # type: ignore[call-arg]
    assert tfg.from_json('{"type": "DPS", "normalise": "residual"}') == tfg.DPS(normalize="residual")
    for old, new in (("Clean", tfg.Denoised), ("Marginalised", tfg.Marginalized)):
        with pytest.warns(DeprecationWarning, match="goes with the next release"):
            assert getattr(tfg, old) is new
    old = importlib.import_module("tfg_jax.optimise")
    with pytest.warns(DeprecationWarning, match="is tfg_jax.optimize.iterate now"):
        assert old.iterate is tfg.optimize.iterate
