"""Every public function refuses an argument that its annotation does not allow, in one short sentence that names it.

One table over the whole public API: kinds are read off the annotations, so a new public function enters by existing. A
value is wrong where beartype, which knows nothing of the library, says that it does not bear the annotation.
"""

import dataclasses
import functools
import inspect
import typing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from beartype.door import is_bearable
from flax import nnx
from jaxtyping import PyTree

import tfg_jax as tfg
from tfg_jax import arguments, kinds
from tfg_jax.metrics import Estimate, InverseRun, LabelRun, moments
from tfg_jax.models import UNet2D, UNet2DConfig
from tfg_jax.tasks import qm9

PACKAGE = Path(tfg.__file__).parent
NOWHERE = str(PACKAGE / "kinds.py" / "none")
KEY, ROWS, LABELS, IMAGES = (
    jax.random.key(0),
    jnp.eye(4, 3),
    jnp.array([0, 1, 2, 0]),
    jnp.eye(16, 4).reshape(4, 4, 4, 1),
)


def eps(params, x, t, cond):
    return x * t


def mean_is(x0, target):
    return x0.mean()


def one(x):
    return x


def of_weights(params, x0, target):
    return x0.mean()


def logits(params, x):
    return jnp.ones((3, 16)) @ x.ravel()


class Thing:
    """Nothing that the library knows."""


NET = nnx.Linear(2, 2, rngs=nnx.Rngs(0))


class AnyTask:
    """Has the members of a task."""

    traced = model = sampler = upper_cost = sample = None


TUNED = tfg.from_fn(eps, jnp.ones(1), tfg.VPLinear(), prediction="eps", shape=(4, 4, 1))
MODEL = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=(4, 4, 1))
CLASSIFIER = tfg.objectives.Classifier(None, logits, 3)
GAUSSIAN = tfg.analytic.gaussian([0.0, 0.0], np.eye(2))
WRONG: dict[str, Any] = {
    "None": None, "a text": "seven", "a fraction": 1.5, "a negative": -1, "an object": Thing(), "a class": tfg.DDIM,
    "a list": [1.0, "two"], "a dictionary": {"shape": (4, 4, 1)}, "a batch of keys": jax.random.split(KEY, 3),
    "bytes": np.zeros((300, 300), np.uint8), "texts": np.array(["a", "b"]), "a complex number": 1j, "NaN": jnp.nan,
    "numbers": jnp.ones(5), "unbatched": jnp.ones((2, 2, 2)), "a function": lambda: None, "a pair": (1, 2),
}  # fmt: skip
# One valid value for every name that a parameter has; a function with another meaning of it stands below.
VALID: dict[str, Any] = {
    "a": moments(ROWS), "A": np.eye(2), "alphas_cumprod": [0.9, 0.1], "array": np.ones(3), "arrays": {},
    "axis": "rho",
    "b": moments(ROWS), "basis": np.eye(2), "batch": 2, "batch_size": 2, "batches": one, "channels": 1, "chunk": 2,
    "classifier": CLASSIFIER, "columns": np.eye(4), "cond": LABELS, "config": {}, "count": 1, "cov": [[1.0]],
    "covs": [[[1.0]]], "data": GAUSSIAN, "decoder": one, "draws": jnp.ones((4, 2, 3)), "evaluator": CLASSIFIER,
    "estimate": Estimate(1.0, 0.0, 2.0, 3),
    "exact": ROWS, "factor": 2,
    "failed": 0, "features": ROWS, "file": NOWHERE, "flat": {}, "fn": eps, "folder": NOWHERE, "guidance": tfg.TFG(),
    "guide": CLASSIFIER, "image": IMAGES[0], "images": IMAGES, "kernel": np.ones((3, 3)), "key": KEY, "keys": (),
    "labels": LABELS, "layers": lambda x: [x], "length": 2.0, "level": 0.9, "logits": ROWS,
    "lookahead": tfg.Tweedie(), "loss_fn": one, "mask": np.ones((4, 4, 1)), "mean": [0.0], "means": [[0.0]],
    "method": tfg.DFlow(), "model": MODEL, "module": NET, "mu": 1.0, "n": 2, "name": "x",
    "name_or_path": "fashion-mnist", "network_time": "unit", "noise_std": 0.1, "noun": "image", "num_nodes": 10,
    "num_atoms": 5, "num_features": 5, "num_samples": 2, "numbers": {},
    "objective": mean_is, "objectives": mean_is, "operator": one,
    "optimizer": optax.sgd(0.1), "params": None, "path": NOWHERE, "peak": 9.0,
    "pixels": np.zeros((4, 4, 3), np.uint8), "points": {}, "prediction": "eps", "real": ROWS, "reference": ROWS,
    "residual": IMAGES[0], "reward": mean_is, "rho": 1.0, "ridge": 1.0, "rounds": 1, "rows": np.eye(4), "run": None,
    "sampler": tfg.DDIM(), "samples": ROWS, "scale": 2.0, "schedule": tfg.VPLinear(), "score": mean_is,
    "sections": [], "seed": 0, "series": {}, "sets": ROWS, "shape": (4, 4, 1), "size": 2, "state": {},
    "statistic": np.mean, "std": 1.0, "steps": 1, "successes": 1, "t": 0.5, "t_max": 1.0, "t_min": 0.1,
    "target": LABELS, "targets": LABELS, "task": None, "text": "{}", "title": "a title", "truth": IMAGES,
    "truth_features": ROWS, "value": {}, "values": np.ones(4), "variables": {}, "variance": 1.0, "weight": 1.0,
    "weights": [1.0], "x": IMAGES, "x0": IMAGES[0], "xlabel": "x", "y": IMAGES, "ylabel": "y",
}  # fmt: skip
FLOW_GRID = tfg.ode.steps_between(tfg.VPLinear(), tfg.VPLinear().level(jnp.array([0.9, 0.1])), jnp.asarray(1e-3))
OWN: dict[str, dict[str, Any]] = {
    "benchmark.headline": {"tasks": [], "method": "tfg", "baselines": ["dps"]},
    "benchmark.read_suite": {"name_or_path": "smoke"},
    "benchmark.relative_gain": {"value": 1.0, "baseline": 2.0, "better": "higher"},
    "benchmark.run_suite": {"suite": "none.toml", "use": {}, "only": (), "samples": 2, "seeds": ()},
    "tfg.best_of_n": {"num_samples": 2},
    "tfg.end_to_end": {"start": IMAGES[:2]},
    "tfg.preview_end_to_end": {"start": IMAGES[:2]},
    "tfg.sample": {"num_samples": 2},
    "ode.equal_steps": {"level": tfg.VPLinear().level(0.9), "span": jnp.asarray(0.5), "margin": jnp.asarray(1e-3)},
    "ode.solve": {"y": jnp.zeros(2), "grid": FLOW_GRID, "field": one, "method": "euler", "adjoint": "none"},
    "ode.steps_between": {"levels": tfg.VPLinear().level(jnp.array([0.9, 0.1])), "margin": jnp.asarray(1e-3)},
    "health.examine": {"data": None},
    "optimize.iterate": {"delta": 1.0, "folder": NOWHERE},
    "metrics.beyond_real": {"distance": np.ones(4), "real": np.ones(3)},
    "metrics.estimate": {"key": "psnr"},
    "metrics.high_frequency_ratio": {"reference": IMAGES},
    "metrics.inverse_metrics": {"run": object.__new__(InverseRun)},
    "metrics.label_metrics": {"run": object.__new__(LabelRun)},
    "metrics.lpips": {"weights": [np.ones(1)]},
    "metrics.unlike_real": {"distance": np.ones(4), "real": np.ones(3)},
    "report.bar_chart": {"values": {"a": 1.0}},
    "report.save_chart": {"chart": None},
    "report.markdown_table": {"rows": [{"a": 1}]},
    "report.text_table": {"rows": [{"a": 1}]},
    "report.inverse_report": {"run": object.__new__(InverseRun)},
    "report.label_guidance_report": {"run": object.__new__(LabelRun)},
    "search.search": {"aim": "objective", "path": NOWHERE},
    "qm9.requests": {"properties": ("mu",)},
    "tasks.run_chunked": {"task": AnyTask()},
    "training.diffusion_loss": {"apply": eps, "num_classes": 2},
    "training.random_flip": {"allowed": np.ones(4, bool)},
    "weights.diffusion_config": {"network": UNet2DConfig()},
    "weights.load_diffusers_state": {"unet": object.__new__(UNet2D)},
}


# Numbers below 0 or not finite that mean something: (function, parameter).
MEANT = {
    ("benchmark.relative_gain", "value"), ("benchmark.relative_gain", "baseline"),
    ("tfg.w_from_scale", "scale"), ("tfg.to_json", "indent"), ("metrics.mmd", "scale"),
    ("objectives.weighted", "weight"), ("operators.motion_blur", "angle"), ("operators.motion_kernel", "angle"),
    ("operators.inpainting", "mask"), ("optimize.iterate", "goal"), ("tasks.run_chunked", "chunk"),
    ("training.fit", "max_seconds"),
}  # fmt: skip
# One value of each public class of configurations whose fields do not all have defaults.
LABELLED = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=(4, 4, 1), num_classes=3, null_cond=2)
GIVEN: dict[str, tuple] = {
    "APG": (LABELLED,),
    "Autoguidance": (LABELLED, LABELLED),
    "CFG": (LABELLED, 1.0),
    "CFGPlusPlus": (LABELLED, 0.5),
    "CFGZeroStar": (LABELLED,),
    "ComposedCFG": (LABELLED, jnp.ones(2), 2),
    "DynamicThresholding": (LABELLED,),
    "GuidanceInterval": (tfg.CFG(LABELLED, 1.0),),
    "LowTemperature": (LABELLED,),
    "Marginalized": (LABELLED, mean_is),
    "PerpNeg": (LABELLED, jnp.array([0]), jnp.ones(1)),
    "RescaledCFG": (LABELLED,),
}


def functions() -> dict[str, Any]:
    """Every public function of the package and of its public rooms."""
    rooms = {name: getattr(tfg, name) for name in tfg.__all__ if inspect.ismodule(getattr(tfg, name))}
    found = {}
    for room, module in {"tfg": tfg, **rooms, "qm9": qm9}.items():
        for name in getattr(module, "__all__", ()):
            if inspect.isfunction(member := getattr(module, name)):
                found[f"{room}.{name}"] = member
    return found


def bears(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotation; a whole number is a real one, and arrays may be of NumPy."""
    wholes = isinstance(value, int) and not isinstance(value, bool) and is_bearable(float(value), hint)
    return wholes or is_bearable(value, hint)


def test_every_public_function_refuses_what_its_annotations_do_not_bear():
    wrong_calls, faults = 0, []
    for name, function in functions().items():
        if not hasattr(function, "checks_kinds"):
            faults.append(f"{name} has no door; decorate it with tfg_jax.kinds.public")
        plain = inspect.unwrap(function)
        hints = typing.get_type_hints(plain)
        door = kinds.public(plain)
        for parameter in inspect.signature(plain).parameters.values():
            if parameter.name not in hints or parameter.kind is parameter.VAR_KEYWORD:
                continue
            for label, value in WRONG.items():
                if not bears(value, hints[parameter.name]):
                    wrong_calls += 1
                    if fault := fault_of(door, OWN.get(name, {}), parameter, value):
                        faults.append(f"{name}({parameter.name}: {label}): {fault}")
    assert not faults, f"{len(faults)} of {wrong_calls}:\n" + "\n".join(faults)
    assert wrong_calls > 3000


def test_every_public_function_refuses_numbers_that_cannot_be_meant():
    wrong_calls, faults = 0, []
    for name, function in functions().items():
        plain = inspect.unwrap(function)
        door, hints = kinds.public(plain), typing.get_type_hints(plain)
        for parameter in inspect.signature(plain).parameters.values():
            hint: Any = hints.get(parameter.name, Any)
            counts, measures = is_bearable(-1, hint), is_bearable(-1.0, hint)
            if hint in (Any, PyTree) or (name, parameter.name) in MEANT or is_bearable(mean_is, hint):
                continue
            for value in [-1] * counts + [-1.0, float("nan"), float("inf")] * measures:
                wrong_calls += 1
                if fault := fault_of(door, OWN.get(name, {}), parameter, value):
                    faults.append(f"{name}({parameter.name}={value}): {fault}")
    assert not faults, f"{len(faults)} of {wrong_calls}:\n" + "\n".join(faults)
    assert wrong_calls > 200


def fault_of(function: Any, own: dict[str, Any], wrong: inspect.Parameter, value: Any) -> str | None:
    """What is wrong with how a function answers one wrong value; None if it refuses it as it should."""
    args, kwargs = [], {}
    for parameter in inspect.signature(function).parameters.values():
        needed = parameter.default is parameter.empty and parameter.name in VALID
        if parameter.name == wrong.name or parameter.name in own or needed:
            given = value if parameter.name == wrong.name else {**VALID, **own}[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.append(given)
            elif parameter.kind is not parameter.VAR_KEYWORD:
                kwargs[parameter.name] = given
    return answer(lambda: function(*args, **kwargs), wrong.name)


def answer(call: Any, name: str) -> str | None:
    """What is wrong with how a call with one wrong value is answered; None if it is refused as it should be."""
    try:
        call()
    except ValueError as error:
        message = str(error)
        if name not in message or len(message) > 300 or "\n" in message:
            return f"says {message[:300]!r}"
        raised_in = inspect.trace()[-1].filename
        return None if Path(raised_in).is_relative_to(PACKAGE) else f"raised in {raised_in}: {message[:200]}"
    except Exception as error:
        return f"raises {type(error).__name__}: {str(error)[:200]!r}"
    return "is accepted"


# Results, and classes that functions of the table above build.
BUILT = (
    "Batch Cost Denoised Denoiser Discrete Explicit FlowMap FromValues HorizonCurve Level NoiseTape Optimized "
    "PerSample Reach Samples Status Tweedie"
).split()
OPTIONS = {"conditional": True, "num_samples": 2, "steps": 2, "objective": mean_is, "model": TUNED, "cond": None}


def configurations() -> dict[str, tuple[Any, Any]]:
    """A value of every public class of configurations, and what checks one before a run."""
    found = {}
    for module in (tfg, tfg.optimize):
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and dataclasses.is_dataclass(member) and name not in BUILT:
                found[name] = member(*GIVEN.get(name, ())), checker(member)
    return {name: pair for name, pair in found.items() if pair[1]}


def checker(kind: type) -> Any:
    """What asks of a configuration of a kind, all that is asked before a run; None for a kind of results."""
    if check := getattr(kind, "check", None):
        check = inspect.unwrap(check)
        options = [OPTIONS[name] for name in inspect.signature(check).parameters if name in OPTIONS]
        return lambda config: (kinds.check_fields(config), check(config, *options))
    if hasattr(kind, "t_of_log_snr"):
        build = kinds.public(inspect.unwrap(tfg.from_fn))
        return lambda schedule: build(eps, None, schedule, prediction="eps", shape=(4, 4, 1))
    if hasattr(kind, "__call__"):  # noqa: B004
        return lambda grid: (kinds.check_fields(grid), inspect.unwrap(arguments.check_grid)(grid, tfg.VPLinear(), 2))
    return None


def written(valid: Any, name: str, value: Any, check: Any) -> None:
    """Write a configuration with another value, which is refused there, or at the latest by what checks it."""
    check(dataclasses.replace(valid, **{name: value}))


def test_every_configuration_refuses_what_its_fields_do_not_bear():
    wrong_values, faults = 0, []
    for name, (valid, check) in configurations().items():
        hints = typing.get_type_hints(type(valid))
        for field in dataclasses.fields(valid):
            for label, value in WRONG.items():
                if not bears(value, hints[field.name]):
                    wrong_values += 1
                    if fault := answer(functools.partial(written, valid, field.name, value, check), field.name):
                        faults.append(f"{name}({field.name}: {label}): {fault}")
    assert not faults, f"{len(faults)} of {wrong_values}:\n" + "\n".join(faults)
    assert wrong_values > 1000
