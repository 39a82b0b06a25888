"""What cannot be meant is refused before anything runs, in one sentence with the argument, its value and the fix.

The suite's own type checker would answer some of these calls first, so they go to the function that users have.
"""

import functools
import inspect
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import struct
from tfg_jax.checks import is_concrete
from tfg_jax.kinds import public

sample, invert = (public(inspect.unwrap(function)) for function in (tfg.sample, tfg.invert))
SHAPE, N = (4, 4, 1), 2
KEY = jax.random.key(0)


def eps(params, x, t, cond):
    return x * t


def logits(params, x):
    return jnp.ones((3, 16)) @ x.ravel()


def noisy_logits(params, x, log_snr):
    return logits(params, x)


def brightness(params, x0, target):
    return -jnp.abs(jnp.mean(x0) - target)


def column(x):
    return x[:, 0, 0]


MODEL = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=SHAPE)
LABELLED = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=SHAPE, num_classes=10)
CLASS = tfg.objectives.class_log_prob(tfg.objectives.Classifier(None, logits, num_classes=3))
NOISY = tfg.objectives.noisy_class_log_prob(tfg.objectives.NoisyClassifier(None, noisy_logits, num_classes=3))
MEASURED = tfg.objectives.residual_norm(column)
LABELS = jnp.array([0, 2])
GUIDED = {"objective": CLASS, "target": LABELS, "guidance": tfg.TFG()}
X = jnp.zeros((N, *SHAPE))
STEPS = tfg.DDIM(steps=2)
TABLE = np.linspace(0.99, 0.01, 50)


def refuse(message, model=MODEL, **options):
    """A configuration that cannot be meant is given as a function that makes it: it is refused where it is written."""
    with pytest.raises(ValueError, match=message):
        options = {name: made(value) for name, value in options.items()}
        sample(KEY, made(model), **{"num_samples": N, "sampler": STEPS, **options})


def made(value):
    return value() if isinstance(value, functools.partial) or getattr(value, "__name__", "") == "<lambda>" else value


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            jnp.zeros((N, 4, 4)),
            r"start x_t has shape \(2, 4, 4\), the model needs \(2, 4, 4, 1\); images are \(n, H, W, C\)",
        ),
        (jnp.zeros((N, 1, 4, 4)), r"start x_t has shape \(2, 1, 4, 4\), the model needs"),
        (jnp.zeros((N, 4, 4, 3)), r"start x_t has shape \(2, 4, 4, 3\), the model needs"),
        (jnp.zeros((3, *SHAPE)), r"start x_t has shape \(3, 4, 4, 1\)"),
        (
            np.zeros((N, *SHAPE), np.uint8),
            r"start x_t has dtype uint8, floating point is needed; scale integers to \[-1, 1\]",
        ),
        (X.at[0, 0].set(jnp.nan), "start x_t holds NaN or infinity; clean it first"),
        ([[0.0]], "start x_t has shape None"),
    ],
)
def test_samples(x, message):
    refuse(message, start=(x, 0.5))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (X, "start must be .x_t, t."),
        ((X, 0.5, 1), "start must be .x_t, t."),
        ((X, 0.0), "start t=0.0? must be a finite number > 0 and <= 1"),
        ((X, 1.5), "start t=1.5 must be a finite number > 0 and <= 1"),
        ((X, float("nan")), "start t=nan must be"),
        ((X, jnp.full(N, 0.5)), r"start t has shape \(2,\); all samples start at one time, give a number"),
    ],
)
def test_starts(start, message):
    refuse(message, start=start)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (jnp.array([0, 3]), "target holds class 3, outside 0..2; the network has 3 classes"),
        (jnp.array([-1, 0]), "target holds class -1, outside 0..2"),
        (jnp.array([0, 1, 2]), r"target must be \(2,\) integer classes, got shape \(3,\)"),
        (jnp.array([0.0, 1.0]), "dtype float32; give one class a sample"),
        (jnp.zeros((N, 3), int), r"got shape \(2, 3\)"),
        (None, "target must be .2,. integer classes, got shape None"),
        ([0, 1], "target must be .2,. integer classes, got shape None"),
    ],
)
def test_class_targets(target, message):
    refuse(message, **{**GUIDED, "target": target})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (jnp.zeros((N, 5)), r"target must be float measurements of shape \(2, 4\), got shape \(2, 5\)"),
        (jnp.zeros((N, 4), int), r"got shape \(2, 4\) and dtype int32; give operator\(x0\) of each sample"),
        (jnp.zeros((N, 4)).at[1, 1].set(jnp.inf), "target holds NaN or infinity; give finite measurements"),
    ],
)
def test_measurements(target, message):
    refuse(message, objective=MEASURED, target=target, guidance=tfg.DPS())


@pytest.mark.parametrize(
    ("model", "cond", "message"),
    [
        (LABELLED, None, "cond=None, but the model has classes and no null condition; pass cond="),
        (LABELLED, jnp.array([0, 10]), "cond holds class 10, outside 0..9"),
        (LABELLED, jnp.array([0.0, 1.0]), "cond must be .2,. integer classes, got shape .2,. and dtype float32"),
        (LABELLED, jnp.array([0]), r"cond must be \(2,\) integer classes, got shape \(1,\)"),
        (MODEL, jnp.array([0]), r"has a leaf of shape \(1,\), num_samples=2 needs \(2, ...\)"),
    ],
)
def test_conditions(model, cond, message):
    refuse(message, model, cond=cond)


BAD = (float("nan"), float("inf"), -0.5, jnp.float32(-1.0))
STRENGTHS = [
    (name, build)
    for name, build in (
        ("rho", lambda v: tfg.TFG(rho=v)), ("mu", lambda v: tfg.TFG(mu=v)),
        ("smoothing", lambda v: tfg.TFG(smoothing=v)),
        ("strength", lambda v: tfg.DPS(v)), ("strength", lambda v: tfg.LGD(v)), ("strength", lambda v: tfg.FreeDoM(v)),
        ("strength", lambda v: tfg.MPGD(v)), ("strength", lambda v: tfg.UGD(v)),
    )
]  # fmt: skip


def test_strengths_are_one_real_number():
    for value, message in (
        (jnp.array([0.0, 1.0]), r"has shape \(2,\), one number is needed; map over several with jax.vmap"),
        ("1", "='1' must be a real number"),
        (1j, "=.*j must be a real number"),
    ):
        for name, build in STRENGTHS:
            refuse(f"{name} ?{message}", **{**GUIDED, "guidance": functools.partial(build, value)})


@pytest.mark.parametrize("value", BAD, ids=str)
def test_strengths(value):
    for name, build in STRENGTHS:
        refuse(rf"{name}=.* must be a finite number >= 0", **{**GUIDED, "guidance": functools.partial(build, value)})
    refuse(
        "strength=.* must be a finite number >= 0",
        objective=NOISY,
        target=LABELS,
        guidance=lambda: tfg.ClassifierGuidance(value),
    )


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda: tfg.DDIM(steps=0), "steps=0 must be an integer >= 1"),
        (lambda: tfg.DDPM(steps=-1), "steps=-1 must be an integer >= 1"),
        (lambda: tfg.Euler(steps=2.5), "steps=2.5 must be an integer >= 1"),  # type: ignore[arg-type]
        (lambda: tfg.DDIM(steps=jnp.asarray(5)), "steps=5 .* >= 1 of Python, since it is not"),  # type: ignore[arg-type]
        (lambda: tfg.Heun(steps=True), "steps=True must be an integer >= 1"),
        (lambda: tfg.DPMSolverPP2M(steps=0), "steps=0 must be an integer >= 1"),
        (lambda: tfg.DDIM(eta=1.5), "eta=1.5 must be a finite number >= 0 and <= 1"),
        (lambda: tfg.DDIM(eta=float("nan")), "eta=nan must be"),
        (lambda: tfg.DDPM(v=-0.1), "v=-0.1 must be a finite number >= 0 and <= 1"),
        (lambda: tfg.Euler(churn=tfg.Churn(amount=-1.0)), "churn.amount=-1. must be a finite number >= 0"),
        (
            tfg.DDIM(steps=11, grid=tfg.Leading(num_nodes=10)),
            "steps=11 does not fit a table of num_nodes=10; use fewer",
        ),
        (tfg.DDIM(steps=2, grid=tfg.Explicit(jnp.ones(2))), r"times has shape \(2,\), steps=2 needs \(3,\)"),
    ],
)
def test_samplers(sampler, message):
    refuse(message, sampler=sampler)


@pytest.mark.parametrize(
    ("grid", "schedule", "message"),
    [
        (
            tfg.Explicit(jnp.array([0.5, 0.8, 0.0])),
            tfg.VPLinear(),
            r"grid=Explicit gives the times \[0.5 0.8 0.*must decrease",
        ),
        (tfg.Explicit(jnp.array([1.5, 0.8, 0.0])), tfg.VPLinear(), "decrease from at most 1"),
        (tfg.Explicit(jnp.array([0.5, 0.0, 0.0])), tfg.VPLinear(), "only the last may be 0"),
        (tfg.Explicit(jnp.array([0.5, jnp.nan, 0.0])), tfg.VPLinear(), "grid=Explicit gives the times"),
        (lambda: tfg.Karras(sigma_min=0.0), tfg.EDM(), "sigma_min=0.0? must be a finite number > 0"),
        (lambda: tfg.Karras(sigma_min=-1.0), tfg.EDM(), "sigma_min=-1.0? must be a finite number > 0"),
        (tfg.UniformLogSNR(log_snr_max=-3.0, log_snr_min=3.0), tfg.VPLinear(), "grid=UniformLogSNR gives the times"),
        (
            tfg.Trailing(),
            tfg.RectifiedFlow(),
            "starts at t=1, where the schedule has no signal .*start at t_start=0.999",
        ),
        (
            tfg.Leading(),
            tfg.from_alphas_cumprod(TABLE),
            "num_nodes=1000, the schedule's table has 50; pass num_nodes=50",
        ),
    ],
)
def test_grids(grid, schedule, message):
    model = tfg.from_fn(eps, None, schedule, prediction="eps", shape=SHAPE)
    refuse(message, model, sampler=lambda: tfg.DDIM(steps=2, grid=made(grid)))
    with pytest.raises(ValueError, match=message):
        invert(model, X, steps=2, grid=made(grid))


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (lambda: tfg.TFG(mu=None, n_iter=2), "n_iter=2 has no effect with mu=None; give mu or drop n_iter"),
        (lambda: tfg.TFG(n_mc=2), "n_mc=2 has no effect with smoothing=None; give smoothing or drop n_mc"),
        (lambda: tfg.TFG(rho=None, rho_structure="constant"), "rho_structure='constant' has no effect with rho=None"),
        (lambda: tfg.TFG(mu=None, mu_structure="constant"), "mu_structure='constant' has no effect with mu=None"),
        (
            lambda: tfg.TFG(smoothing_structure="constant"),
            "smoothing_structure='constant' has no effect with smoothing=None",
        ),
        (lambda: tfg.TFG(rho=None, mu=None, smoothing=0.1), "smoothing has no effect with rho=None and mu=None"),
        (lambda: tfg.TFG(n_iter=0), "n_iter=0 must be an integer >= 1"),
        (lambda: tfg.TFG(n_recur=0), "n_recur=0 must be an integer >= 1"),
        (lambda: tfg.TFG(smoothing=0.1, n_mc=0), "n_mc=0 must be an integer >= 1"),
        (
            lambda: tfg.TFG(rho_structure="up"),  # type: ignore[arg-type]
            "rho_structure='up' is unknown; choose one of increase, decrease, constant",
        ),
        (lambda: tfg.DPS(normalize="norm"), "normalize='norm' is unknown; choose one of value, residual"),  # type: ignore[arg-type]
        (tfg.DPS(normalize="residual"), 'normalize="residual" needs an objective with a measurement residual'),
        (lambda: tfg.LGD(n_mc=0), "n_mc=0 must be an integer >= 1"),
        (lambda: tfg.FreeDoM(n_recur=0), "n_recur=0 must be an integer >= 1"),
        (lambda: tfg.FreeDoM(structure="up"), "structure='up' is unknown"),  # type: ignore[arg-type]
        (lambda: tfg.UGD(n_iter=0), "n_iter=0 must be an integer >= 1"),
        (
            tfg.ClassifierGuidance(),
            "guidance=ClassifierGuidance needs an objective of noisy samples, e.g. noisy_class_log_prob",
        ),
    ],
)
def test_guidance(guidance, message):
    refuse(message, **{**GUIDED, "guidance": guidance})


def test_options_without_effect():
    refuse("lookahead has no effect without guidance; pass guidance= or drop lookahead", lookahead=tfg.Tweedie())
    refuse("window has no effect without guidance; pass guidance= or drop window", window=(0.0, 1.0))
    refuse("window has no effect without guidance", window=(0.0, 1.0), guidance=tfg.Unguided())
    refuse("objective has no effect without guidance; pass guidance=, e.g. TFG", **{**GUIDED, "guidance": None})
    refuse(
        "window has no effect without guidance",
        **{**GUIDED, "guidance": tfg.TFG(rho=None, mu=None), "window": (0.0, 1.0)},
    )
    refuse("target has no effect without an objective; pass objective= or drop target", target=LABELS)
    refuse("guidance=TFG needs an objective; pass objective=", guidance=tfg.TFG())
    refuse(
        "lookahead has no effect on ClassifierGuidance", objective=NOISY, target=LABELS,
        guidance=tfg.ClassifierGuidance(), lookahead=tfg.Tweedie(),
    )  # fmt: skip
    refuse("guidance=TFG needs an objective of clean samples", objective=NOISY, target=LABELS, guidance=tfg.TFG())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples=0 must be an integer >= 1"),
        ({"num_samples": -3}, "num_samples=-3 must be"),
        ({"num_samples": None}, "num_samples is missing; pass it, or a target, cond or start"),
        ({"chunk": 0}, "chunk=0 must be an integer >= 1"),
        ({"index_offset": -1}, "index_offset=-1 must be an integer >= 0"),
        ({"index_offset": 0.5}, "index_offset=0.5 must be an integer >= 0"),
        ({"index_offset": jnp.array([0, 1])}, r"index_offset has shape \(2,\) and dtype int32; give one integer"),
        ({"clip": lambda: tfg.Clip(1.0, -1.0)}, "clip.low=1.0 must be below clip.high=-1.0"),
        ({"clip": lambda: tfg.Clip(float("nan"), 1.0)}, "clip.low=nan must be a number, or infinite"),
        ({**GUIDED, "window": (1.0, -1.0)}, r"window=\(1.0, -1.0\) must be \(low, high\) with low < high"),
        ({**GUIDED, "window": 3.0}, "window=3.0 must be .low, high."),
        ({"record": tfg.Record(steps=(2,))}, r"record.steps holds 2, outside 0..1; name steps of this run"),
        ({"record": tfg.Record(steps=(-1,))}, "record.steps holds -1"),
        ({"record": tfg.Record(steps=(0.5,))}, "record.steps holds 0.5"),  # type: ignore[arg-type]
        ({"record": tfg.Record(steps=(1, 1))}, r"record.steps=\(1, 1\) names a step twice; name each once"),
        ({"record": "all"}, "record='all' is no record of tfg_jax; pass Record"),
        (
            {"clip": lambda: tfg.Clip(gradient="outisde")},  # type: ignore[arg-type]
            "clip.gradient='outisde' is unknown; choose one of inside, outside",
        ),
        ({"clip": lambda: tfg.Clip(jnp.zeros(2), 1.0)}, r"clip.low has shape \(2,\), one number is needed"),
        ({"clip": (-1.0, 1.0)}, r"clip=\(-1.0, 1.0\) is no clip of tfg_jax; pass Clip\(low, high\)"),
        ({**GUIDED, "window": ("a", "b")}, "window's low='a' must be a real number"),
        ({"index_offset": jnp.array(-1)}, "index_offset=-1 must lie in 0..2147483646"),
        ({"index_offset": 2**33}, "index_offset=8589934592 must lie in 0..2147483646"),
        ({"noise": {}}, r"noise=\{\} is no noise of tfg_jax; pass a NoiseTape"),
        ({**GUIDED, "guidance": "tfg"}, r"guidance='tfg' is no guidance of tfg_jax; pass a method such as TFG\(\)"),
        ({**GUIDED, "guidance": tfg.TFG}, "guidance=TFG is no guidance"),
        ({**GUIDED, "lookahead": "tweedie"}, "lookahead='tweedie' is no lookahead of tfg_jax"),
        ({"sampler": "ddim"}, r"sampler='ddim' is no sampler of tfg_jax; pass a rule such as DDIM\(steps=50\)"),
        (
            {"sampler": lambda: tfg.DDIM(2, grid="karras")},  # type: ignore[arg-type]
            "grid='karras' is no grid of tfg_jax; pass one such as Uniform",
        ),
        (
            {"sampler": lambda: tfg.DDIM(2, eta=jnp.ones(2))},
            r"eta has shape \(2,\), one number is needed; map over several",
        ),
        ({"sampler": lambda: tfg.DDIM(2, eta="1")}, "eta='1' must be a real number"),  # type: ignore[arg-type]
        ({"sampler": lambda: tfg.DDPM(2, v=None)}, "v=None must be a real number"),  # type: ignore[arg-type]
        ({"sampler": lambda: tfg.Euler(2, churn=3)}, "churn=3 is no churn of tfg_jax; pass Churn"),  # type: ignore[arg-type]
        (
            {"noise": tfg.NoiseTape(X, step=jnp.zeros((N, 3, 1, *SHAPE)))},
            r"noise.step has leading axes \(2, 3, 1\), the run needs",
        ),
        ({"noise": tfg.NoiseTape(X[:1])}, r"noise.initial has shape \(1, 4, 4, 1\)"),
        ({"noise": tfg.NoiseTape(None)}, "noise.initial=None but the run starts from noise"),  # type: ignore[arg-type]
        (
            {"noise": tfg.NoiseTape(X, step=jnp.zeros((N, 2, 1, 4, 4)))},
            r"noise.step holds draws of shape \(4, 4\), the run needs",
        ),
    ],
)
def test_the_rest(options, message):
    refuse(message, **options)


def not_scalar(params, x0, target):
    return jnp.mean(x0, axis=(0, 1))


def of_other_shape(params, x0, target):
    return jnp.sum(jnp.ones((3, 5)) @ x0.ravel())


def test_objectives_that_cannot_be_meant():
    given = {"target": jnp.zeros(N), "guidance": tfg.TFG()}
    refuse(
        r"objective must return a scalar for one sample, got shape \(1,\); sum it",
        objective=tfg.objectives.from_fn(not_scalar),
        **given,
    )
    refuse(
        r"objective cannot read samples of shape \(4, 4, 1\)", objective=tfg.objectives.from_fn(of_other_shape), **given
    )
    given["target"] = jnp.zeros(3)
    refuse(r"target has a leaf of shape \(3,\), num_samples=2", objective=tfg.objectives.from_fn(brightness), **given)


def test_networks_that_cannot_be_meant():
    with pytest.raises(ValueError, match="prediction='epsilon' is unknown; choose one of eps, x0"):
        inspect.unwrap(tfg.from_fn)(eps, None, tfg.VPLinear(), prediction="epsilon", shape=SHAPE)
    with pytest.raises(ValueError, match="null_cond=10 needs num_classes"):
        tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=SHAPE, null_cond=10)


@struct.dataclass
class Rising(tfg.RectifiedFlow):
    def level(self, t):
        return tfg.RectifiedFlow.level(self, 1.0 - 0.5 * t)


def test_keys_models_and_schedules_that_cannot_be_meant():
    for key, model, message in (
        (0, MODEL, r"key=0 is no key of tfg_jax; pass jax.random.key\(seed\)"),
        (KEY, eps, "model=<function eps at .* is no model of tfg_jax; pass a model such as"),
    ):
        with pytest.raises(ValueError, match=message):
            sample(key, model, num_samples=N, sampler=STEPS)
    for schedule, message in (
        (lambda: tfg.VE(50.0, 0.01), "sigma_min=50.0 must be below sigma_max=0.01"),
        (lambda: tfg.VPLinear(5.0, 1.0), "beta_min=5.0 must be at most beta_max=1.0"),
        (lambda: tfg.VPLinear(-1.0, -5.0), "beta_min=-1.* must be a finite number > 0"),
        (Rising, "schedule=Rising.* has no signal-to-noise ratio that falls with time; mend its numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            model = tfg.from_fn(eps, None, schedule(), prediction="eps", shape=SHAPE)
            sample(KEY, model, num_samples=N, sampler=STEPS)


def flat(params, x, *_):
    return jnp.zeros(7)


def test_networks_of_another_output():
    model = tfg.from_fn(flat, None, tfg.VPLinear(), prediction="eps", shape=SHAPE)
    refuse(r"the network returns shape \(7,\) for a sample of shape \(4, 4, 1\)", model)
    wrong = tfg.objectives.class_log_prob(tfg.objectives.Classifier(None, flat, 3))
    refuse(r"the classifier returns shape \(7,\), num_classes=3 needs \(3,\)", **{**GUIDED, "objective": wrong})
    with pytest.raises(ValueError, match="has no num_classes; wrap it"):
        inspect.unwrap(tfg.objectives.class_log_prob)(flat)


def test_inversion():
    for options, message in (
        ({"x": jnp.zeros((N, 5, 4, 1))}, r"x has shape \(2, 5, 4, 1\), the model needs \(2, 4, 4, 1\)"),
        ({"x": np.zeros((N, *SHAPE), np.uint8)}, "x has dtype uint8"),
        ({"x": 1.0}, r"x=1. must be an array of numbers, \(n, \*shape\)"),
        ({"steps": 0}, "steps=0 must be an integer >= 1"),
        ({"order": 3}, "order=3 is unknown; choose one of 1, 2"),
        ({"chunk": 0}, "chunk=0 must be an integer >= 1"),
    ):
        given = {"x": X, "steps": 2, **options}
        with pytest.raises(ValueError, match=message):
            invert(MODEL, given.pop("x"), **given)


def test_messages_are_one_sentence():
    """No traceback of internals: a single line that ends with what to do."""
    with pytest.raises(ValueError) as caught:
        sample(KEY, MODEL, num_samples=N, target=LABELS)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_what_another_host_holds_a_part_of_is_not_read():
    elsewhere = types.SimpleNamespace(is_fully_addressable=False)
    assert is_concrete(jnp.ones(2)) and is_concrete(1.0) and not is_concrete(elsewhere)
