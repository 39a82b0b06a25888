"""`tfg-jax solve`: images restored from degraded, noisy measurements of them, with a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfg_jax.cli import methods
from tfg_jax.cli.labels import network
from tfg_jax.cli.options import CommonOptions, Part, Typed, data_set
from tfg_jax.cli.sample import FORMER as OF_SAMPLE
from tfg_jax.cli.samplers import sampler_of, sampler_part
from tfg_jax.tasks.find import DEFAULT

ProblemName = Literal[
    "box", "random", "sr2", "sr4", "sr2-bicubic", "sr4-bicubic", "blur", "motion", "hdr", "phase", "fourier"
]
FORMER = (*OF_SAMPLE, "iterations", "rate", "line_search", "regularizer", "weight", "kind", "data_std", "weighting")


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """What is restored and how, and where to."""

    problem: ProblemName = "sr2"
    """What is lost: a central box, 70 % of the pixels at random, resolution (averaged or bicubic), sharpness (Gaussian
    blur or motion), highlights and shadows (hdr), the phase of the Fourier transform, three quarters of its columns
    (fourier, as in magnetic resonance imaging)."""
    guidance: Annotated[str, tyro.conf.arg(aliases=["--method"])] = "dps"
    """How the measurement guides: none, dps, lgd, freedom, ugd, pigdm, mpgd, tfg, dflow, controls, or module:Class.
    dflow optimizes the noise and controls the way through the whole solve, at tens of times the cost. Its settings are
    flags of their own, below."""
    task: str = DEFAULT
    """The data set, whose model, evaluator, images and tuned methods are the defaults."""
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
    evaluator: str | None = None
    """Classifier in whose features perceptual distance is measured: released name or folder; None leaves it out, as
    does the default where the model's images are of another size."""


def parts(typed: Typed) -> list[Part]:
    """The groups of options of the method and sampler that are named."""
    subject = data_set(typed)
    presets = subject.INVERSE_PRESETS
    ask = methods.asked(typed, presets, ("none",), "dps")
    images = Part(ImageOptions, {"evaluator": subject.networks["evaluator"]})
    common = Part(CommonOptions, {"model": subject.networks["model"]})
    return [Part(RequestOptions), *methods.parts_of(ask, typed, sampler_part(typed), presets), images, common]


def run(options: Any) -> int:
    """Degrade images, then restore them with a model that was never trained for it.

    Writes a sample folder that the same command resumes, grid.png (truth, measurement, draws, their mean and standard
    deviation), metrics.json and report.html.
    """
    from tfg_jax.tasks.find import find_task

    subject = find_task(options.task)
    ask = methods.named(options.guidance, subject.INVERSE_PRESETS, ("none",))
    method, lookahead = methods.build(ask, options), methods.look_ahead(ask, options)
    window, sampler = methods.window_of(options), sampler_of(options)

    from tfg_jax.checks import check_count
    from tfg_jax.cli.drive import drive
    from tfg_jax.denoiser import Denoiser
    from tfg_jax.runs.run import Run
    from tfg_jax.tasks.restore import Images, noise_of, restoration

    for name, low in (("draws", 1), ("chunk", 1), ("seed", 0)):
        check_count(name, getattr(options, name), low)
    default = subject.networks["evaluator"]
    if options.measured and not options.images:
        raise ValueError("--measured needs measurements; pass --images")
    if options.measured and options.evaluator not in (None, default):
        raise ValueError(f"--evaluator {options.evaluator} has no effect on --measured, which knows no truth; drop it")
    noise = noise_of(options.noise, options.noise_std, options.peak)
    task = restoration(
        network("model", options.model, Denoiser), options.problem,
        Images(options.images, options.measured, options.num_images), noise, draws=options.draws, seed=options.seed,
        shipped=subject.shipped_images, clip=options.clip, evaluator=options.evaluator,
        optional_evaluator=options.evaluator == default, sampler=sampler, lookahead=lookahead, window=window,
    )  # fmt: skip
    run = Run(task, method, len(task.measurements) * options.draws, options.seed, options.chunk, name=ask.name)
    title = f"{options.problem} restored by {options.guidance}"
    return drive("solve", options, run, title, "the same command tries again")
