"""The groups of options of sampling commands, which the task, the method and the sampler that are named choose from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfg_jax.tasks.find import DEFAULT

Solver = Literal["euler", "midpoint", "heun", "ralston"]
ProblemName = Literal[
    "box", "random", "sr2", "sr4", "sr2-bicubic", "sr4-bicubic", "blur", "motion", "hdr", "phase", "fourier"
]
SAMPLERS = {
    "ddim": "samplers.ddim:DDIM", "ddpm": "samplers.ddpm:DDPM", "euler": "samplers.ode:Euler",
    "heun": "samplers.ode:Heun", "dpmpp-2m": "samplers.multistep:DPMSolverPP2M",
}  # fmt: skip
WORKER = Annotated[
    str | None,
    tyro.conf.arg(help="i/n: compute shards i, i + n, ... alone, beside n - 1 other processes, and score nothing."),
]
ROW_WORKER = Annotated[
    str | None, tyro.conf.arg(help="i/n: compute rows i, i + n, ... alone, beside n - 1 other processes.")
]
DISTRIBUTED = Annotated[
    bool,
    tyro.conf.arg(help="Run the same command on every host of a cluster that JAX knows: each computes its share."),
]
SAMPLER = Annotated[str, tyro.conf.arg(help=f"Step rule: {', '.join(SAMPLERS)}, or module:Class.")]


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """What is asked for and how, and where to."""

    task: str = DEFAULT
    """A data set by name, or a task of your own: file.py, file.py:name or module:name."""
    guidance: Annotated[str, tyro.conf.arg(aliases=["--method"])] = "tfg"
    """How it is asked for: none, a method that is tuned for the task (an unknown name lists them), for classes also
    conditional; or module:Class. Its settings are flags of their own."""
    objective: str | None = None
    """Ascended in place of the task's: module:name or file.py:name of an objective or a function (x0, target)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/sample")
    """Folder of the results, or a URL: gs://bucket/name, s3://bucket/name."""


@dataclasses.dataclass(frozen=True)
class WorkerOptions:
    """What computes a run, and how it is shared with other processes."""

    worker: WORKER = None
    distributed: DISTRIBUTED = False
    split_weights: int = 1
    """Devices of a process that hold the weights together, for a model too large for one."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of the model's network alone; default that of its weights."""


@dataclasses.dataclass(frozen=True)
class ElsewhereOptions(WorkerOptions):
    """How a run is shared with other processes, and taken elsewhere."""

    save_program: Path | None = None
    """Also write the sampler to this file, compiled ahead of time for CPUs, CUDA and TPUs; --program runs it."""


@dataclasses.dataclass(frozen=True)
class ProgramOptions:
    """A sampler that --save-program wrote, which needs neither task nor model."""

    program: Path = Path()
    """The file."""
    targets: tuple[float, ...] = ()
    """What is asked for, where that is one number a sample; default those it was saved with."""
    num_samples: int = 16
    """Samples; sample i is asked for target i modulo their number."""
    seed: int = 0
    """Root of all random numbers."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/sample")
    """Folder of the results."""
    chunk: int = 20
    """Samples computed together, and samples a file."""
    config: Path | None = None
    """JSON file of options; options given here win."""
    worker: WORKER = None
    distributed: DISTRIBUTED = False
    overwrite: bool = False
    """Throw away what the folder holds."""
    dry_run: bool = False
    """Show what the program takes and gives; sample and write nothing."""


@dataclasses.dataclass(frozen=True)
class NumberOptions:
    """How much is sampled."""

    num_samples: int = 16
    """Samples; sample i is asked for target i modulo the number of the task's targets."""


@dataclasses.dataclass(frozen=True)
class RestoreOptions:
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
    """Folder of the results, or a URL: gs://bucket/name, s3://bucket/name."""


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


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """What is asked for, and the networks that guide and score."""

    classes: tuple[str, ...] = ()
    """Requested classes, by number or name; default all."""
    per_class: int = 8
    """Samples of each class."""
    guide: str = ""
    """Classifier that guides: released name or folder."""
    weak: str | None = None
    """A worse model of the same kind to guide away from (autoguidance): released name or folder; default none."""
    w: float | None = None
    """Weight of that, default 1; 0 leaves the model as it is."""
    noisy_guide: str | None = None
    """Classifier of noisy images, for the method `classifier` alone: released name or folder; default the shipped."""
    evaluator: str = ""
    """Classifier that scores: released name or folder."""
    data: Path | None = None
    """Folder of the original files of the data set: more real images to compare with than the hundred shipped ones."""


@dataclasses.dataclass(frozen=True)
class MoleculeOptions:
    """What is asked for, and the networks that guide and score."""

    property: tuple[str, ...] = ("alpha",)
    """Properties that are asked for, several as a sum: mu, alpha, homo, lumo, gap, cv."""
    target: tuple[float, ...] = ()
    """Wanted value of each (mu in D, alpha in bohr^3, homo, lumo and gap in meV, cv in cal/(mol K)); default those of
    molecules of the data, with their atom counts."""
    atoms: int | None = None
    """Atom count of all; default as in the data, among molecules of about the wanted values."""
    num_samples: int = 16
    """Molecules."""
    by_size: bool = False
    """Sort the requests by atom count: half the work of a large run, which can then not be extended."""
    guide: str = ""
    """Network of properties that guides: released name, folder of weights, or module:function that gives one."""
    evaluator: str = ""
    """Network of properties that scores, as the guide; it should be another one."""
    xtb: bool = False
    """Also judge by quantum chemistry (GFN2-xTB): the program xtb must be installed."""


@dataclasses.dataclass(frozen=True)
class LookaheadOptions:
    """How far the denoised estimate that gradients go through looks ahead, by default one Tweedie step."""

    horizon: float | None = None
    """Share in [0, 1] of the way to the data that is solved before the Tweedie step; 0 is Tweedie at full price."""
    lookahead_steps: int | None = None
    """Steps of that solve, >= 1; default 4."""
    solver: Solver | None = None
    """How it steps; default midpoint."""


@dataclasses.dataclass(frozen=True)
class WindowOptions:
    """Where guidance acts, by default everywhere."""

    window: tuple[float, float] | None = None
    """Log-SNRs (low, high) between which guidance acts, from noisy (about -10) to clean (about 10); outside, steps are
    unguided and cheaper."""


@dataclasses.dataclass(frozen=True)
class SharedOptions:
    """What every command takes that draws samples."""

    clip: bool = True
    """Clip denoised estimates to [-1, 1], in every method alike."""
    seed: int = 0
    """Root of all random numbers."""
    model: str = ""
    """Diffusion model: released name, folder of weights, or module:function that gives one."""
    config: Path | None = None
    """JSON file of options, such as the config.json of an earlier run; options given here win."""
    overwrite: bool = False
    """Throw away what the folder holds."""
    dry_run: bool = False
    """Show shapes, network evaluations and memory; sample and write nothing."""


@dataclasses.dataclass(frozen=True)
class CommonOptions(SharedOptions):
    """What every sampling command takes, whatever is asked for."""

    chunk: int = 20
    """Samples computed together, and samples a file."""


@dataclasses.dataclass(frozen=True)
class SamplerOptions:
    """The sampler of guided methods."""

    sampler: SAMPLER = "ddim"
    steps: int = 50
    """DDIM steps."""
    eta: float = 1.0
    """DDIM stochasticity in [0, 1]."""
    v: float | None = None
    """More noise than eta 1, in [0, 1]: between the posterior's variance (0, as eta 1) and the forward process's (1),
    in logarithm. With n_recur > 1 about 0.5 keeps the samples' variety."""


@dataclasses.dataclass(frozen=True)
class SizeOptions:
    """How many samples the rows of a study on images have."""

    images: int = 64
    """Restored images a row at the smallest budget."""
    costly_images: int = 32
    """Restored images a row at the other budgets."""
    label_samples: int = 100
    """Label samples a row."""
    trial_images: int = 8
    """Images of each trial of a strength."""
    trial_samples: int = 20
    """Label samples of each trial."""
    chunk: int = 8
    """Restorations computed together."""
    label_chunk: int = 20
    """Label samples computed together."""
