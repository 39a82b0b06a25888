"""A restoration of the user's images, or of shipped ones: what is measured, by which network, under which noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tfg_jax.checks import check_count, check_number
from tfg_jax.denoiser import Denoiser
from tfg_jax.lookahead import Clip
from tfg_jax.objectives.classifier import Classifier
from tfg_jax.operators.noise import check_counts_photons
from tfg_jax.runs.store import fingerprint
from tfg_jax.tasks.inverse import InverseTask, measure_images, poisson_noise_std, problem_operator
from tfg_jax.tasks.scoring import check_features, load_as

SHOWN = 8


class Images(NamedTuple):
    """What is restored.

    Attributes:
        paths: pictures, .npz files or folders of them; none is the shipped images of the data set.
        measured: they are the measurements themselves.
        count: how many of them; None is all, or 8 of the shipped ones.
        skip: how many are left out before these; fewer than ``count`` may then be left.
    """

    paths: Sequence[Path] = ()
    measured: bool = False
    count: int | None = None
    skip: int = 0


class Noise(NamedTuple):
    """Noise of the measurement: Gaussian of a standard deviation, or Poisson's of so many photons in a white pixel."""

    noise_std: float | None = 0.05
    peak: float | None = None


def restoration(
    model: Denoiser,
    problem: str,
    images: Images,
    noise: Noise,
    *,
    draws: int,
    seed: int,
    shipped: Any,
    clip: bool = True,
    evaluator: Any = None,
    optional_evaluator: bool = False,
    **fields: Any,
) -> InverseTask:
    """The task: images are read and measured, networks checked.

    Args:
        model: the diffusion model of images.
        problem: a name of `PROBLEMS`.
        images, noise: what is measured.
        draws: restorations of each image.
        seed: of masks and noise.
        shipped: gives ``(images, names)`` of the data set.
        clip: clip denoised estimates to [-1, 1].
        evaluator: classifier of perceptual distances, by name or itself; None leaves them out.
        optional_evaluator: whether one that cannot read the model's images is left out with a note.
        **fields: of `InverseTask`.
    Raises:
        ValueError: images, noise, a problem or networks that do not fit each other.
    """
    check_count("draws", draws)
    shape, key = _image_shape(model.shape), jax.random.key(seed)
    operator = problem_operator(problem, shape, key)
    if noise.peak is not None:
        check_counts_photons(operator)
    if images.measured:
        truth, (y, names) = None, _measured(images, operator, problem, shape)
        noise_std = noise.noise_std if noise.peak is None else poisson_noise_std(y, noise.peak)
    else:
        truth, names = _truth(images, model.shape, shipped)
        y, noise_std = measure_images(operator, truth, key, **noise._asdict())
    network, notes = (None, ()) if images.measured else _evaluator(evaluator, model.shape, optional_evaluator)
    amount = {"gaussian": noise.noise_std} if noise.peak is None else {"poisson": noise.peak}
    about = {
        "problem": problem, "noise": amount, "draws": draws, "measured": images.measured,
        "images_sha256": fingerprint(y if truth is None else truth),
    }  # fmt: skip
    return InverseTask(
        model, operator, noise_std, clip=Clip(gradient="outside") if clip else None,
        peak=noise.peak, measurements=y, truth=truth, names=tuple(names), evaluator=network,
        warnings=notes, about=json.dumps(about), **fields,
    )  # fmt: skip


def noise_of(kind: str, noise_std: float | None, peak: float | None) -> Noise:
    """The noise that options ask for. Raises ValueError for one without effect, or that is not > 0."""
    gaussian = kind == "gaussian"
    if (peak if gaussian else noise_std) is not None:
        given, other = ("peak", "poisson") if gaussian else ("noise-std", "gaussian")
        raise ValueError(f"--{given} has no effect on --noise {kind}; drop it, or choose --noise {other}")
    name, value, default = ("noise_std", noise_std, 0.05) if gaussian else ("peak", peak, 100.0)
    amount = default if value is None else value
    check_number(name, amount, low=0.0, strict=True)
    return Noise(amount) if gaussian else Noise(None, amount)


def _measured(images: Images, operator: Any, problem: str, shape: tuple) -> tuple[np.ndarray, list[str]]:
    """The user's measurements; what an inpainting mask hides is set to what the operator says of it."""
    from tfg_jax.data.inputs import read_images

    blank = np.asarray(operator(jnp.zeros(shape)))
    y, names = read_images(
        images.paths, blank.shape, needed_by=f"problem {problem}",
        bright=getattr(operator, "measures_images", True), complex_values=np.iscomplexobj(blank),
    )  # fmt: skip
    observed = np.asarray(jax.device_get(getattr(operator, "observed", 1.0)))
    return _first(images, np.where(observed > 0, y, blank).astype(blank.dtype), names, len(y))


def _truth(images: Images, shape: tuple[int, ...], shipped: Any) -> tuple[np.ndarray, list[str]]:
    if images.paths:
        from tfg_jax.data.inputs import read_images

        truth, names = read_images(images.paths, _image_shape(shape))
        return _first(images, truth, names, len(truth))
    truth, names = shipped()
    if truth.shape[1:] != shape:
        raise ValueError(f"images=() means the shipped ones of {truth.shape[1:]}, but the model samples {shape}; "
                         "pass --images")  # fmt: skip
    return _first(images, truth, names, SHOWN)


def _first(images: Images, x: np.ndarray, names: list[str], default: int) -> tuple[np.ndarray, list[str]]:
    """The first of the images, as many as are asked for."""
    wanted = default if images.count is None else images.count
    check_count("num_images", wanted)
    if images.skip >= len(x):
        raise ValueError(f"num_images={images.skip} leaves none of the {len(x)} images to search on; lower it")
    if images.skip:
        return x[images.skip :][:wanted], names[images.skip :][:wanted]
    if wanted > len(x):
        raise ValueError(f"num_images={wanted} is more than the {len(x)} images there are; lower it")
    return x[:wanted], names[:wanted]


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"model samples shape {shape}; solve needs images (H, W, C) with 1 or 3 channels")
    return shape[0], shape[1], shape[2]


def _evaluator(evaluator: Any, shape: tuple[int, ...], optional: bool) -> tuple[Any, tuple[str, ...]]:
    """The network of perceptual distances, or None, and a note if one cannot read the model's images."""
    if evaluator is None:
        return None, ()
    network = load_as(evaluator, Classifier)
    try:
        check_features("evaluator", network, shape)
    except ValueError as error:
        if not optional:
            raise
        return None, (f"feature distances are left out: {error}",)
    return network, ()
