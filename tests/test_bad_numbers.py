"""Numbers that cannot be meant, on every way in: arrays for one number, levels without signal, classes past a table."""

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.denoiser import unit_time

sample, invert = inspect.unwrap(tfg.sample), inspect.unwrap(tfg.invert)
SHAPE, N = (4, 4, 1), 2
KEY = jax.random.key(0)


def eps(params, x, t, cond):
    return x * t


def logits(params, x):
    return jnp.ones((3, 16)) @ x.ravel()


MODEL = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=SHAPE)
CLASS = tfg.objectives.class_log_prob(tfg.objectives.Classifier(None, logits, num_classes=3))
LABELS = jnp.array([0, 2])
GUIDED = {"objective": CLASS, "target": LABELS, "guidance": tfg.TFG()}
X = jnp.zeros((N, *SHAPE))
STEPS = tfg.DDIM(steps=2)


def refuse(message, model: Any = MODEL, **options):
    """A configuration that cannot be meant is given as a function that makes it: it is refused where it is written."""
    with pytest.raises(ValueError, match=message):
        options = {name: made(value) for name, value in options.items()}
        sample(KEY, made(model), **{"num_samples": N, "sampler": STEPS, **options})


def made(value):
    return value() if getattr(value, "__name__", "") == "<lambda>" else value


FOUR = jnp.array([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("name", "model", "options"),
    [
        ("beta_min", lambda: tfg.VPLinear(FOUR), {}),
        ("beta_max", lambda: tfg.VPLinear(0.1, 50 * FOUR), {}),
        ("offset", lambda: tfg.VPCosine(FOUR), {}),
        ("log_snr_min", lambda: tfg.VPTruncatedCosine(-FOUR), {}),
        ("sigma_min", lambda: tfg.VE(FOUR), {}),
        ("sigma_max", lambda: tfg.EDM(FOUR), {}),
        ("sigma_min", tfg.EDM(), {"sampler": lambda: tfg.DDIM(2, grid=tfg.Karras(FOUR))}),
        ("exponent", tfg.EDM(), {"sampler": lambda: tfg.DDIM(2, grid=tfg.Karras(exponent=FOUR))}),
        ("log_snr_max", tfg.VPLinear(), {"sampler": lambda: tfg.DDIM(2, grid=tfg.UniformLogSNR(FOUR))}),
        ("log_snr_max", tfg.VPLinear(), {"sampler": lambda: tfg.DDIM(2, grid=tfg.CosineLogSNR(log_snr_max=FOUR))}),
        ("eta", tfg.VPLinear(), {"sampler": lambda: tfg.DDIM(2, eta=FOUR)}),
        ("v", tfg.VPLinear(), {"sampler": lambda: tfg.DDPM(2, v=FOUR)}),
        ("churn.low", tfg.VPLinear(), {"sampler": lambda: tfg.Euler(2, churn=tfg.Churn(low=FOUR))}),
        ("clip.low", tfg.VPLinear(), {"clip": lambda: tfg.Clip(-FOUR)}),
        ("window's low", tfg.VPLinear(), {**GUIDED, "window": (FOUR, 5.0)}),
        ("horizon", tfg.VPLinear(), {**GUIDED, "lookahead": lambda: tfg.TruncatedSolve(FOUR)}),
        ("s", tfg.VPLinear(), {**GUIDED, "lookahead": lambda: tfg.TruncatedSolve(tfg.Reach(FOUR))}),
        ("margin", tfg.VPLinear(), {**GUIDED, "lookahead": lambda: tfg.TruncatedSolve(0.5, margin=FOUR)}),
    ],
)
def test_an_array_where_one_number_is_meant(name, model, options):
    """Over four pixel columns it would broadcast."""
    message = rf"{name}.* has shape \(4,\).*one number is needed"
    refuse(message, lambda: tfg.from_fn(eps, None, made(model), prediction="eps", shape=SHAPE), **options)


def test_sigma_data_is_one_number():
    build = lambda value: tfg.from_fn(eps, None, tfg.EDM(), prediction="edm", shape=SHAPE, sigma_data=value)  # noqa: E731
    with pytest.raises(ValueError, match=r"sigma_data has shape \(4,\), one number is needed"):
        build(FOUR)
    with pytest.raises(ValueError, match="sigma_data=0.* must be a finite number > 0"):
        build(0.0)
    refuse(r"sigma_data has shape \(4,\), one number", dataclasses.replace(build(0.5), sigma_data=FOUR))
    refuse(r"sigma_data=PerSample.* needs one entry for 2", build(tfg.PerSample(FOUR)))


def looked_up(params, x, t, cond):
    return x + params[cond]


def taken(params, x, t, cond):
    return x + jax.jit(jnp.take, static_argnums=2)(params, cond[None], 0)[0]


@pytest.mark.parametrize("network", [looked_up, taken])
def test_classes_beyond_the_network_s_table(network):
    """Indexing clamps, so class 5 of a table of 5 would silently be class 4."""
    given = dict(prediction="v", shape=SHAPE, num_classes=5)
    build = lambda rows, **more: tfg.from_fn(network, jnp.ones((rows, 1)), tfg.VPCosine(), **{**given, **more})  # noqa: E731
    for null_cond in (None, 0, 4):
        build(5, null_cond=null_cond)
    build(6, null_cond=5)
    for rows, more, message in (
        (5, {"null_cond": 5}, "null_cond=5 asks for class 5, but the network's table of classes has 5 rows.* in 0..4"),
        (4, {}, "num_classes=5 asks for class 4, .* has 4 rows"),
        (9, {"null_cond": 6}, "null_cond=6 must lie in 0..5"),
        (9, {"null_cond": -1}, "null_cond=-1 must be an integer >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            build(rows, **more)


WITHOUT_SIGNAL = {
    "cosine": tfg.VPCosine(),
    "flow": tfg.RectifiedFlow(),
    "table": tfg.from_alphas_cumprod(np.append(np.linspace(0.99, 0.01, 19), 0.0)),
}
FROM_THE_END = tfg.Explicit(jnp.array([1.0, 0.5, 0.0]))


def predicting(prediction, schedule):
    return tfg.from_fn(tanh, None, WITHOUT_SIGNAL[schedule], prediction=prediction, shape=SHAPE, network_time=unit_time)


def tanh(params, x, t, cond):
    return 0.5 * jnp.tanh(x) * (1.0 + t)


@pytest.mark.parametrize(
    ("prediction", "schedule"), [("eps", "cosine"), ("eps", "flow"), ("eps", "table"), ("score", "cosine")]
)
def test_a_start_without_signal(prediction, schedule):
    """Whichever way the run starts there; what is right there is told."""
    model = predicting(prediction, schedule)
    said = "starts at t=1, where the schedule has no signal .*use one of v, x0 or velocity, or start at t_start=0.9"
    refuse(r"start=\(x_t, t\) " + said, model, start=(X, 1.0))
    refuse(r"start=\(x_t, t\) " + said, tfg.Autoguidance(model, model), start=(X, jnp.float32(1.0)))
    refuse("grid=Explicit " + said, model, sampler=tfg.DDIM(2, grid=FROM_THE_END))
    with pytest.raises(ValueError, match="grid=Explicit " + said):
        invert(model, X, steps=2, grid=FROM_THE_END)
    with pytest.raises(ValueError, match="grid=Explicit " + said):
        controls = tfg.Controls(2, grid=FROM_THE_END)
        tfg.end_to_end(KEY, model, controls, objective=CLASS, target=LABELS, num_samples=N)
    if schedule != "table":
        schedule_from_1: Any = WITHOUT_SIGNAL[schedule]
        always = dataclasses.replace(model, schedule=dataclasses.replace(schedule_from_1, t_start=1.0))
        refuse("schedule's t_start " + said[:60], always)
    assert sample(KEY, model, num_samples=N, sampler=STEPS).status.ok.all()


@pytest.mark.parametrize(("prediction", "schedule"), [("v", "table"), ("x0", "cosine"), ("velocity", "flow")])
def test_a_start_without_signal_where_it_is_right(prediction, schedule):
    """There x0 is what the network says of noise alone, so every sampler goes on, guided or not."""
    model = predicting(prediction, schedule)
    noise = jax.random.normal(KEY, (N, *SHAPE))
    heun = tfg.Heun(2, grid=FROM_THE_END)
    for options in (
        {"sampler": heun}, {"sampler": tfg.DPMSolverPP2M(2), "start": (noise, 1.0)},
        {**GUIDED, "sampler": tfg.Euler(2, churn=tfg.Churn()), "start": (noise, 1.0)},
    ):  # fmt: skip
        out = sample(KEY, model, num_samples=N, **options)
        assert out.status.ok.all() and bool((jnp.abs(out.x) < 100.0).all())
    refuse("guidance=UGD edits does not tell x0", model, start=(noise, 1.0), **{**GUIDED, "guidance": tfg.UGD()})
    cold = "this network's prediction does not tell x0"
    refuse(cold, tfg.LowTemperature(model), start=(noise, 1.0))
