"""Released weights as the objects the library works with: `load(name)` gives a denoiser or a classifier.

A configuration names its architecture; `tfg_jax.models.family` finds what it stands for.
"""

import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax import schedules
from tfg_jax.checks import check_count, show
from tfg_jax.config import to_dict
from tfg_jax.kinds import public
from tfg_jax.models import family
from tfg_jax.models.config import FIX, NetworkConfig
from tfg_jax.weights import store
from tfg_jax.weights.manifest import checkpoints_dir, load_manifest, sha256_of
from tfg_jax.weights.old import upgraded

DIFFUSERS_FILES = ("model_index.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


@public
def load(name_or_path: str | os.PathLike, *, max_bytes: int = store.MAX_BYTES, allow: Collection[str] = ()) -> Any:
    """The model of a released name (checked against the manifest's sha256) or of a folder of your own.

    Args:
        name_or_path: a name of the manifest, or a folder of `store.save_weights`.
        max_bytes: largest weights file accepted.
        allow: modules of your own whose architectures a folder may name; they are imported.
    Returns:
        A `Denoiser`, `Classifier`, `NoisyClassifier` or `PropertyPredictor`, as the architecture says.
    Raises:
        FileNotFoundError: neither a released name nor a folder.
        ValueError: a folder of diffusers, damaged files, or a configuration this version does not know or whose values
            do not fit.
    """
    folder, config, arrays = read(name_or_path, max_bytes)
    try:
        return family.build(config, arrays, allow)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{folder / store.CONFIG_FILE} lacks or misuses {error}; {FIX}") from None
    except ValueError as error:
        raise ValueError(f"{folder / store.CONFIG_FILE}: {error}") from None


def read(name_or_path: Any, max_bytes: int = store.MAX_BYTES) -> tuple[Path, dict[str, Any], dict[str, np.ndarray]]:
    """Folder, configuration in today's spelling and arrays of weights; arguments and errors as `load`."""
    check_count("max_bytes", max_bytes)
    folder, expected = _find(name_or_path)
    if any((folder / file).exists() for file in DIFFUSERS_FILES):
        raise ValueError(
            f"{folder} is a folder of diffusers; build UNet2D from its configuration, fill it by "
            "tfg_jax.weights.load_diffusers_state and pass it to from_nnx, as docs/own_model.md shows"
        )
    config, arrays = store.read_weights(folder, expected or None, max_bytes=max_bytes)
    try:
        return folder, upgraded(config), arrays
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / store.CONFIG_FILE} lacks or misuses {error}; {FIX}") from None


@public
def load_moments(name_or_path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean (F,), covariance (F, F), both float64, and count of an evaluator's features of its test images.

    Raises as `load`; FileNotFoundError also if the weights come without moments.
    """
    folder, expected = _find(name_or_path)
    file = folder / "moments.safetensors"
    arrays = store.load_arrays(file, expected.get(file.name))
    if set(arrays) != {"mean", "covariance", "count"}:
        raise ValueError(f"{file} holds no mean, covariance and count; fetch it again.")
    shapes, size = {key: array.shape for key, array in arrays.items()}, arrays["mean"].size
    if shapes != {"mean": (size,), "covariance": (size, size), "count": ()}:
        raise ValueError(f"{file} holds arrays of shapes {shapes}, (F,), (F, F) and () are needed; fetch it again.")
    return arrays["mean"], arrays["covariance"], int(arrays["count"])


@public
def input_shape(network: Any) -> tuple[int, ...] | None:
    """Shape (H, W, C) of the one sample that a classifier of `load` reads; None for networks of another origin."""
    return network.apply.shape if isinstance(network.apply, family.OneSample) else None


@public
def diffusion_config(
    name: str,
    network: NetworkConfig,
    schedule: schedules.Schedule,
    *,
    prediction: str,
    network_time: str,
    shape: tuple[int, ...],
    num_classes: int | None = None,
    null_cond: int | None = None,
    null_class: int | None = None,
    pack: int = 1,
    architecture: str = "unet2d.UNet2D",
) -> dict[str, Any]:
    """Configuration of a diffusion model for `store.save_weights`; `load` turns it back into the same denoiser.

    Args:
        network: the configuration of the network that `architecture` names, see `tfg_jax.models.family`.
        network_time: "unit", "thousand", "index" or "log_sigma", see `tfg_jax.denoiser`.
        shape: of one sample, before packing.
        null_class: the old name of null_cond, which goes with the next release.
        pack: the network sees `pack` x `pack` pixels as channels; 1 for none.
    Raises:
        ValueError: if a value is out of range or unknown.
    """
    if null_class is not None:
        check_count("null_class", null_class, 0)
        note = "null_class is called null_cond; the old name goes with the next release"
        warnings.warn(note, DeprecationWarning, stacklevel=3)
    values = {
        "architecture": architecture, "name": name, "network": network.to_dict(),
        "schedule": to_dict(schedule), "prediction": prediction, "network_time": network_time,
        "shape": list(shape), "num_classes": num_classes, "pack": pack,
        "null_cond": null_class if null_cond is None else null_cond,
    }  # fmt: skip
    family.denoiser_options(values, [type(schedule).__module__])
    return values


def _find(name_or_path: Any) -> tuple[Path, dict[str, str]]:
    """Folder and expected hashes."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise ValueError(f"name_or_path={show(name_or_path)} is no text or path; give a released name or a folder.")
    try:
        root = checkpoints_dir()
        released = load_manifest(root)
    except FileNotFoundError:
        root, released = Path(), {}
    if isinstance(name_or_path, str) and name_or_path in released:
        return root / name_or_path, sha256_of(released[name_or_path])
    if Path(name_or_path).is_dir():
        return Path(name_or_path), {}
    names = ", ".join(sorted(released)) or "none"
    raise FileNotFoundError(
        f"{str(name_or_path)!r} is neither a released name ({names}) nor a folder; use one of them."
    )
