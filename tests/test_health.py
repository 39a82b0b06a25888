"""A model in good health has no findings; each planted fault is named, with what to do about it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import health
from tfg_jax.denoiser import Denoiser

KEY = jax.random.key(0)
COV = np.array([[0.6, 0.2], [0.2, 0.3]])


def model(prediction: Any = "eps", schedule: Any = None, mean=(0.4, -0.2), cov=COV) -> Any:
    gaussian = tfg.analytic.gaussian(mean, cov)
    return gaussian.denoiser(schedule or tfg.VPCosine(), prediction=prediction)


def named(found: health.Health) -> list[str]:
    return [finding.name for finding in found.findings]


def taken_for(true: Denoiser, **other: Any) -> Any:
    """The network of one model, wired as another."""
    return true.replace(**other)  # type: ignore[attr-defined]


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "velocity"])
def test_a_right_model_has_no_findings(prediction):
    found = health.examine(KEY, model(prediction))
    assert not found.findings and (found.ratio < 1.5).all() and found.t.shape == found.ratio.shape == (24,)
    assert 0.3 < found.std < 1.0


class Band:
    """A network that fails at one level."""

    def __init__(self, apply):
        self.apply = apply

    def __call__(self, params, x, t, cond):
        return jnp.where(jnp.abs(t - 0.5) < 0.03, jnp.nan, self.apply(params, x, t, cond))


BROKEN = Band(model().apply)


def test_what_the_network_predicts_is_told_from_its_own_samples():
    found = health.examine(KEY, taken_for(model("eps"), prediction="v"))
    assert named(found) == ["prediction"] and "predicts eps, not v" in found.findings[0].advice


@pytest.mark.parametrize(
    ("wired", "name", "said"),
    [
        (taken_for(model("v"), prediction="eps"), "prediction", "predicts v, not eps"),
        (taken_for(model("x0"), prediction="v"), "prediction", "predicts x0, not v"),
        (taken_for(model(schedule=tfg.VPLinear()), schedule=tfg.VPCosine()), "schedule", "VPLinear, not"),
        (taken_for(model("v"), apply=health.Negated(model("v").apply)), "sign", "negate it"),
        (taken_for(model(), apply=BROKEN), "non-finite", "t = 0.5"),
        (taken_for(model(), apply=lambda params, x, t, cond: 3.0 * x), "error", "worse than a linear map"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_planted_faults_are_named_on_real_data(wired, name, said):
    data = jax.random.multivariate_normal(KEY, jnp.array([0.4, -0.2]), jnp.asarray(COV, jnp.float32), (64,))
    found = health.examine(KEY, wired, data=data, steps=16)
    assert named(found) == [name] and said in found.findings[0].advice
    assert all(len(finding.advice) < 300 and "\n" not in finding.advice for finding in found.findings)


def test_a_fault_that_is_small_at_every_level_is_seen_and_told():
    """Nowhere twice as bad as a linear denoiser, at most levels a little worse."""
    right, lines = model("x0", schedule=tfg.VPLinear()), []
    found = health.examine(KEY, right, num_samples=1024, tell=lines.append)
    assert not found.findings and lines == ["denoising 1024 samples at 24 levels, which are drawn first"]
    found = health.examine(KEY, taken_for(right, apply=Shrunk(right.apply)), num_samples=1024, tell=lines.append)
    assert (
        found.ratio.max() < health.BAD
        and named(found) == ["error"]
        and "at the median level" in found.findings[0].advice
    )
    assert len(lines) == 9 and "trying whether the network's output has the other sign" in lines[2]


@pytest.mark.parametrize("n", [8, 16, 128])
def test_few_samples_of_a_right_model_are_no_fault(n):
    keys = range(3)
    assert [health.examine(jax.random.key(k), model("x0"), num_samples=n).findings for k in keys] == [()] * len(keys)


@pytest.mark.parametrize(("true", "claimed"), [("eps", "velocity"), ("x0", "v"), ("v", "velocity")])
def test_real_data_tell_what_own_samples_do_not(true, claimed):
    mixture = tfg.analytic.mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], np.stack([0.05 * np.eye(2)] * 2))
    right: Any = mixture.denoiser(tfg.RectifiedFlow(), prediction=true)
    data = mixture.sample(KEY, 256)
    assert not health.examine(KEY, right, data=data, steps=12).findings
    found = health.examine(KEY, right.replace(prediction=claimed), data=data, steps=12)
    assert named(found) == ["prediction"] and f"predicts {true}, not {claimed}" in found.findings[0].advice


class Shrunk:
    """A network whose estimates fall short."""

    def __init__(self, apply):
        self.apply = apply

    def __call__(self, params, x, t, cond):
        return 0.66 * self.apply(params, x, t, cond)


def test_images_in_0_to_255_are_named():
    found = health.examine(KEY, model(mean=(120.0, 140.0), cov=np.diag([60.0**2, 50.0**2])), num_samples=64)
    assert named(found) == ["range"] and "[0, 255]" in found.findings[0].advice


def test_images_in_0_to_1_are_named():
    flat: Any = tfg.analytic.gaussian(np.full(16, 0.5), np.eye(16) * 0.03).denoiser(tfg.VPCosine())
    inner = flat.apply
    wired = flat.replace(
        apply=lambda params, x, t, cond: inner(params, x.ravel(), t, cond).reshape(x.shape), shape=(4, 4, 1)
    )
    data = jnp.clip(0.5 + jax.random.normal(KEY, (32, 4, 4, 1)) * 0.03**0.5, 0.0, 1.0)
    assert named(health.examine(KEY, wired, data=data, steps=8)) == ["range"]


def test_the_linear_denoiser_is_the_closed_form_one():
    """Of many samples: sum_j l_j sigma^2 / (alpha^2 l_j + sigma^2), and of few of many entries no better than that."""
    rng, levels = np.random.default_rng(0), jax.vmap(tfg.VPCosine().level)(jnp.array([0.2, 0.5, 0.9]))
    values = np.linspace(0.1, 2.0, 12)
    alpha, sigma = (np.asarray(each)[:, None] for each in (levels.alpha, levels.sigma))
    exact = (values * sigma**2 / (alpha**2 * values + sigma**2)).mean(axis=1)
    many, last, few = (rng.standard_normal((n, 12)) * np.sqrt(values) for n in (4000, 4000, 10))
    np.testing.assert_allclose(health.linear_errors(many, last, levels), exact, rtol=0.02)
    assert (health.linear_errors(few, last, levels) > 0.98 * exact).all()


@pytest.mark.parametrize(("changes", "said"), [({"num_samples": 4}, "num_samples"), ({"steps": 1}, "steps")])
def test_too_little_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        health.examine(KEY, model(), **changes)
