"""`tfg-jax solve`: images restored from degraded, noisy measurements of them, with a report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from tfg_jax.cli.main import OK, SCORING_FAILED
from tfg_jax.cli.methods import (
    END_TO_END,
    SETTINGS,
    RestorationName,
    build,
    check_acting,
    end_to_end_method,
    look_ahead,
)
from tfg_jax.cli.options import TUNED, CommonOptions, GuidedOptions, MethodOptions, as_json

if TYPE_CHECKING:
    import numpy as np

    from tfg_jax.report import InverseRun
    from tfg_jax.tasks import InverseTask

SHOWN = 8
EVALUATOR = "fashion-mnist-evaluator"
ProblemName = Literal[
    "box", "random", "sr2", "sr4", "sr2-bicubic", "sr4-bicubic", "blur", "motion", "hdr", "phase", "fourier"
]


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """What is restored and how, and where to."""

    problem: ProblemName = "sr2"
    """What is lost: a central box, 70 % of the pixels at random, resolution (averaged or bicubic), sharpness (Gaussian
    blur or motion), highlights and shadows (hdr), the phase of the Fourier transform, three quarters of its columns
    (fourier, as in magnetic resonance imaging)."""
    method: RestorationName = "dps"
    """How the measurement guides; dflow optimizes the noise and controls the way through the whole solve, at tens of
    times the cost. Tuned: dps, freedom and mpgd strength 4; lgd strength 16, n_mc 4; ugd strength 2, n_iter 4; pigdm
    strength 1; tfg rho 4, mu 0.25, n_iter 4; dflow iterations 60, rate 0.1, regularizer 1; controls iterations 30, rate
    0.1, weight 10."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/solve")
    """Folder of the results."""


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """The images and their measurements."""

    images: tuple[Path, ...] = ()
    """PNG or other pictures, .npz files with `x` (n, H, W, C), or folders of them; default the shipped test images."""
    measured: bool = False
    """The images are the measurements themselves, of the size that the problem gives: nothing is degraded, and there is
    no truth to compare with. The noise's options say what noise they have."""
    num_images: int | None = None
    """How many of the images; default all that were given, or 8 of the shipped ones."""
    draws: int = 4
    """Restorations of each image."""
    noise: Literal["gaussian", "poisson"] = "gaussian"
    """Noise of the measurement."""
    noise_std: float | None = None
    """Standard deviation of Gaussian noise, > 0, for images in [-1, 1]; default 0.05."""
    peak: float | None = None
    """Photons of a white pixel, > 0, for Poisson noise; default 100."""
    evaluator: str | None = EVALUATOR
    """Classifier in whose features perceptual distance is measured: released name or folder; None leaves it out, as
    does the default where the model's images are of another size."""


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """The sampler."""

    steps: int | None = None
    """DDIM steps, default 50; steps of controls, default 12."""
    eta: float | None = None
    """DDIM stochasticity in [0, 1], default 1."""


@dataclasses.dataclass(frozen=True)
class FurtherOptions:
    """Settings of single methods, tuned like those above."""

    iterations: Annotated[int | None, TUNED] = None
    """dflow, controls: updates of the optimizer at most, >= 1."""
    rate: Annotated[float | None, TUNED] = None
    """dflow, controls: learning rate of Adam, >= 0."""
    line_search: Annotated[int | None, TUNED] = None
    """dflow, controls: L-BFGS in the place of Adam, with so many evaluations of one update at most, >= 1."""
    regularizer: Annotated[float | None, TUNED] = None
    """dflow: weight of the noise's log-density, >= 0."""
    weight: Annotated[float | None, TUNED] = None
    """controls: weight of their cost, >= 0."""
    kind: Annotated[Literal["additive", "kick"] | None, TUNED] = None
    """controls: additive to the gradient, or kicks of the state."""
    data_std: Annotated[float | None, TUNED] = None
    """pigdm: standard deviation of the data around its mean, > 0."""
    weighting: Annotated[Literal["published", "score"] | None, TUNED] = None
    """pigdm: how its gradient enters a step."""


@dataclasses.dataclass(frozen=True)
class Options(RequestOptions, ImageOptions, MethodOptions, FurtherOptions, GuidedOptions, StepOptions, CommonOptions):
    """Degrade images, then restore them with a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png (truth, measurement, draws, their mean and standard
    deviation), metrics.json and report.html.
    """


class Setting(NamedTuple):
    """All of a run but the method."""

    task: InverseTask
    truth: np.ndarray | None
    names: list[str]
    measurements: np.ndarray
    config: dict[str, Any]


def run(options: Options) -> int:
    """Measure, restore, score and report."""
    from tfg_jax.tasks.presets import inverse_preset

    method = build(options.method, {name: getattr(options, name) for name in SETTINGS}, inverse_preset)
    if options.method in END_TO_END:
        method = end_to_end_method(method, options)
        lookahead = None
    else:
        lookahead = look_ahead(options.method, options.horizon, options.lookahead_steps, options.solver)
        check_acting(options.method, options.window)

    import numpy as np

    from tfg_jax.cli import runs, scoring
    from tfg_jax.config import to_dict
    from tfg_jax.runs.store import open_folder

    setting = _setting(options, lookahead)
    task = setting.task
    evaluator, notes = _evaluator(options, task.model.shape)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    targets = np.repeat(setting.measurements, options.draws, axis=0)
    if options.dry_run:
        print(runs.describe(task, {options.method: method}, targets, options.chunk))
        return OK
    config = {"guidance": to_dict(method.guidance), **setting.config}
    with open_folder(options.out, config, len(targets), options.chunk, options.overwrite) as folder:
        scoring.write_config(options.out, "solve", as_json(options), config)
        runs.fill(folder, task, method, targets, options.method)
        arrays = folder.read_all()
        seconds = sum(runs.read_seconds(options.out).values())
        try:
            said = _report(options, _scored(setting, evaluator, arrays, seconds, config, notes))
        except Exception as error:  # whatever goes wrong here, the samples are safe and the user must hear of them
            print(f"tfg-jax solve: the samples are complete in {options.out}, but scoring failed "
                  f"({type(error).__name__}: {error}); the same command tries again", file=sys.stderr)  # fmt: skip
            return SCORING_FAILED
    print(said)
    return runs.exit_code("solve", arrays)


def _setting(options: Options, lookahead: Any) -> Setting:
    """Networks, images and measurements, and the configuration that a sample folder is known by."""
    from tfg_jax.checks import check_count, check_number

    for name, low in (("draws", 1), ("chunk", 1), ("seed", 0)):
        check_count(name, getattr(options, name), low)
    gaussian = options.noise == "gaussian"
    if (options.peak if gaussian else options.noise_std) is not None:
        given, other = ("peak", "poisson") if gaussian else ("noise-std", "gaussian")
        raise ValueError(f"--{given} has no effect on --noise {options.noise}; drop it, or choose --noise {other}")
    level = (options.noise_std, 0.05, "noise_std") if gaussian else (options.peak, 100.0, "peak")
    amount = level[1] if level[0] is None else level[0]
    check_number(level[2], amount, low=0.0, strict=True)

    import jax

    from tfg_jax.config import to_dict
    from tfg_jax.denoiser import Denoiser
    from tfg_jax.lookahead import Clip
    from tfg_jax.operators.noise import check_counts_photons
    from tfg_jax.runs.store import fingerprint
    from tfg_jax.samplers.ddim import DDIM
    from tfg_jax.tasks.inverse import InverseTask, measure_images, poisson_noise_std, problem_operator
    from tfg_jax.tasks.scoring import load_as

    sampler = DDIM(
        steps=50 if options.steps is None else options.steps, eta=1.0 if options.eta is None else options.eta
    )
    model = load_as(options.model, Denoiser)
    shape, key = _image_shape(model.shape), jax.random.key(options.seed)
    operator = problem_operator(options.problem, shape, key)
    if not gaussian:
        check_counts_photons(operator)
    if options.measured:
        truth = None
        y, names = _measured(options, operator, shape)
        noise_std = amount if gaussian else poisson_noise_std(y, amount)
    else:
        truth, names = _images(options, model.shape)
        y, noise_std = measure_images(operator, truth, key, **{level[2]: amount})
    clip = Clip(gradient="outside") if options.clip else None
    peak = None if gaussian else amount
    task = InverseTask(model, operator, noise_std, sampler, clip, peak, lookahead, options.window)
    config = {
        "problem": options.problem, "noise": {options.noise: amount}, "draws": options.draws, "seed": options.seed,
        "images_sha256": fingerprint(y if truth is None else truth), "operator_sha256": fingerprint(operator),
        "schedule": to_dict(model.schedule), "prediction": model.prediction,
        "weights_sha256": {"model": fingerprint(model.params)}, "measured": options.measured,
    }  # fmt: skip
    if options.method not in END_TO_END:
        config |= {"sampler": to_dict(sampler), "clip": to_dict(clip), "lookahead": to_dict(lookahead)}
        config |= {} if options.window is None else {"window": to_dict(options.window)}
    return Setting(task, truth, names, y, config)


def _measured(options: Options, operator: Any, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """The user's measurements; what an inpainting mask hides is set to what the operator says of it."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tfg_jax.cli.inputs import read_images

    if not options.images:
        raise ValueError("--measured needs measurements; pass --images")
    if options.evaluator not in (None, EVALUATOR):
        raise ValueError(f"--evaluator {options.evaluator} has no effect on --measured, which knows no truth; drop it")
    blank = np.asarray(operator(jnp.zeros(shape)))
    y, names = read_images(
        options.images, blank.shape, needed_by=f"problem {options.problem}",
        bright=getattr(operator, "measures_images", True), complex_values=np.iscomplexobj(blank),
    )  # fmt: skip
    observed = np.asarray(jax.device_get(getattr(operator, "observed", 1.0)))
    y = np.where(observed > 0, y, blank).astype(blank.dtype)
    return _first(options, y, names, len(y))


def _images(options: Options, shape: tuple[int, ...]) -> tuple[np.ndarray, list[str]]:
    if options.images:
        from tfg_jax.cli.inputs import read_images

        truth, names = read_images(options.images, _image_shape(shape))
        wanted = len(truth)
    else:
        from tfg_jax.data.fashion_mnist import CLASS_NAMES
        from tfg_jax.data.sample import load_sample

        truth, labels = load_sample()
        if truth.shape[1:] != shape:
            raise ValueError(f"images=() means the shipped ones of {truth.shape[1:]}, but the model samples {shape}; "
                             "pass --images")  # fmt: skip
        # Sorted by class, ten of each: the first of every class, then the second of every class.
        order = [10 * i + k for k in range(10) for i in range(10)]
        truth, names = truth[order], [CLASS_NAMES[c] for c in labels[order]]
        wanted = SHOWN
    return _first(options, truth, names, wanted)


def _first(options: Options, x: np.ndarray, names: list[str], default: int) -> tuple[np.ndarray, list[str]]:
    """The first of the images, as many as are asked for."""
    from tfg_jax.checks import check_count

    wanted = default if options.num_images is None else options.num_images
    check_count("num_images", wanted)
    if wanted > len(x):
        raise ValueError(f"num_images={wanted} is more than the {len(x)} images there are; lower it")
    return x[:wanted], names[:wanted]


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"model samples shape {shape}; solve needs images (H, W, C) with 1 or 3 channels")
    return shape[0], shape[1], shape[2]


def _evaluator(options: Options, shape: tuple[int, ...]) -> tuple[Any, list[str]]:
    """The network of perceptual distances, or None, and a note if the default one cannot read the model's images."""
    if options.evaluator is None or options.measured:
        return None, []
    from tfg_jax.objectives.classifier import Classifier
    from tfg_jax.tasks.scoring import check_features, load_as

    evaluator = load_as(options.evaluator, Classifier)
    try:
        check_features("evaluator", evaluator, shape)
    except ValueError as error:
        if options.evaluator != EVALUATOR:
            raise
        return None, [f"feature distances are left out: {error}"]
    return evaluator, []


def _scored(
    setting: Setting,
    evaluator: Any,
    arrays: Mapping[str, np.ndarray],
    seconds: float,
    config: Mapping[str, Any],
    notes: list[str],
) -> InverseRun:
    import numpy as np

    from tfg_jax import metrics
    from tfg_jax.report import InverseRun
    from tfg_jax.report.inverse import as_picture

    task, x, truth = setting.task, arrays["x"], setting.truth
    finite = np.asarray(np.isfinite(x)).all(axis=(1, 2, 3), keepdims=True)
    held = np.where(finite, x, 0.0).astype(np.float32)  # failed samples are left out of every mean
    return InverseRun(
        truth=truth,
        pictures=as_picture(setting.measurements, task.model.shape),
        x=x,
        residual=metrics.measurement_residual(task.operator, held, arrays["target"]),
        noise_std=task.noise_std,
        status_code=arrays["status_code"],
        status_step=arrays["status_step"],
        cost={name: arrays[f"cost_{name}"] for name in ("forwards", "pullbacks", "objective")},
        seconds=seconds,
        names=setting.names,
        features=None if evaluator is None else metrics.features(evaluator, held),
        truth_features=None if evaluator is None or truth is None else metrics.features(evaluator, truth),
        path=arrays["objective"] if arrays["objective"].shape[1] > 1 else None,  # end to end: the result's alone
        config=config,
        notes=notes,
    )


def _report(options: Options, found: InverseRun) -> str:
    from tfg_jax.cli.scoring import summary
    from tfg_jax.metrics.titles import INVERSE, titled
    from tfg_jax.report import inverse_report

    numbers = inverse_report(options.out, found, f"{options.problem} restored by {options.method}")
    return summary(options.out, titled(numbers, INVERSE), numbers)
