"""Released weights as the objects the library works with: `load(name)` gives a denoiser or a classifier.

A configuration names what it needs (kind, network, schedule); the names are translated here, at the door, alone.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax import constructors, denoiser, schedules, struct
from tfg_jax.checks import check_count, show
from tfg_jax.denoiser import Denoiser, Prediction
from tfg_jax.domains.molecules import molecules
from tfg_jax.kinds import public
from tfg_jax.models import classifiers
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.network import EGNN
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.models.egnn.sample import OneMolecule, PropertyPredictor
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier
from tfg_jax.weights import configs, store
from tfg_jax.weights.configs import schedule_from_dict, schedule_to_dict
from tfg_jax.weights.manifest import checkpoints_dir, load_manifest, sha256_of

NETWORK_TIMES = {
    "unit": denoiser.unit_time,
    "thousand": denoiser.thousand_time,
    "index": denoiser.index_time,
    "log_sigma": denoiser.log_sigma_time,
}
DIFFUSERS_FILES = ("model_index.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
CLASSIFIERS = {
    "GuideNet": (classifiers.GuideNet, classifiers.GuideConfig),
    "EvaluatorNet": (classifiers.EvaluatorNet, classifiers.EvaluatorConfig),
    "NoisyGuideNet": (classifiers.NoisyGuideNet, classifiers.NoisyGuideConfig),
}


@public
def load(name_or_path: str | os.PathLike, *, max_bytes: int = store.MAX_BYTES) -> Any:
    """The model of a released name (checked against the manifest's sha256) or of a folder of your own.

    Args:
        name_or_path: a name of the manifest, such as "fashion-mnist-guide", or a folder of `store.save_weights`.
        max_bytes: largest weights file accepted.
    Returns:
        A `Denoiser`, `Classifier`, `NoisyClassifier` or `PropertyPredictor`, as the configuration's kind says.
    Raises:
        FileNotFoundError: neither a released name nor a folder.
        ValueError: a folder of diffusers, damaged files, or a configuration this version does not know or whose values
            do not fit.
    """
    check_count("max_bytes", max_bytes)
    folder, expected = _find(name_or_path)
    if any((folder / file).exists() for file in DIFFUSERS_FILES):
        raise ValueError(
            f"{folder} is a folder of diffusers; build UNet2D from its configuration, fill it by "
            "tfg_jax.weights.load_diffusers_state and pass it to from_nnx, as docs/own_model.md shows"
        )
    config, arrays = store.read_weights(folder, expected or None, max_bytes=max_bytes)
    try:
        configs.check_choice("kind", config["kind"], BUILDERS)
        return BUILDERS[config["kind"]](config, arrays)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{folder / store.CONFIG_FILE} lacks or misuses {error}; {configs.FIX}") from None
    except ValueError as error:
        raise ValueError(f"{folder / store.CONFIG_FILE}: {error}") from None


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
    return network.apply.shape if isinstance(network.apply, _OneSample) else None


@public
def diffusion_config(
    name: str,
    unet: UNet2DConfig,
    schedule: schedules.Schedule,
    *,
    prediction: str,
    network_time: str,
    shape: tuple[int, ...],
    num_classes: int | None = None,
    null_class: int | None = None,
    pack: int = 1,
) -> dict[str, Any]:
    """Configuration of a diffusion model for `store.save_weights`; `load` turns it back into the same denoiser.

    Args:
        network_time: "unit", "thousand", "index" or "log_sigma", see `tfg_jax.denoiser`.
        shape: of one sample, before packing.
        pack: the network sees `pack` x `pack` pixels as channels; 1 for none.
    Raises:
        ValueError: if `network_time` is unknown.
    """
    check_count("pack", pack)
    for label, count, low in (("num_classes", num_classes, 1), ("null_class", null_class, 0)):
        if count is not None:
            check_count(label, count, low)
    if network_time not in NETWORK_TIMES:
        raise ValueError(f"network_time={network_time!r} is unknown; use one of {', '.join(NETWORK_TIMES)}.")
    return {
        "kind": "diffusion", "name": name, "unet": unet.to_dict(),
        "schedule": schedule_to_dict(schedule), "prediction": prediction, "network_time": network_time,
        "shape": list(shape), "num_classes": num_classes, "null_class": null_class, "pack": pack,
    }  # fmt: skip


def molecule_config(name: str, net: EGNNConfig, schedule: schedules.Schedule, *, max_atoms: int) -> dict[str, Any]:
    """Configuration of a molecule model for `store.save_weights`; `load` makes a `Denoiser` of it.

    Its samples are arrays (max_atoms, 3 + features), its condition is the atom count; see `models.egnn.sample`.
    """
    return {
        "kind": "molecules", "name": name, "egnn": net.to_dict(),
        "schedule": schedule_to_dict(schedule), "max_atoms": max_atoms,
    }  # fmt: skip


def property_config(
    name: str, net: EGNNConfig, names: tuple[str, ...], *, mean: list[float], scale: list[float]
) -> dict[str, Any]:
    """Configuration of a network of properties for `store.save_weights`; `load` makes a `PropertyPredictor` of it."""
    return {
        "kind": "molecule-properties", "name": name, "egnn": net.to_dict(),
        "properties": list(names), "mean": mean, "scale": scale,
    }  # fmt: skip


@struct.dataclass
class _OneSample:
    """A method of a batched NNX network as a function `(params, *inputs)` of one sample; hashable, so jit caches it."""

    graphdef: Any = struct.field(pytree_node=False)
    method: str = struct.field(pytree_node=False, default="__call__")
    pack: int = struct.field(pytree_node=False, default=1)
    shape: tuple[int, ...] | None = struct.field(pytree_node=False, default=None)  # None: the network takes any size

    def __call__(self, params: PyTree, x: Array, *rest: Any) -> Array:
        if self.shape is not None and x.shape != self.shape:
            raise ValueError(f"the network reads samples of shape {self.shape}, got {x.shape}; resize or crop them")
        x = pack(x, self.pack) if self.pack > 1 else x
        inputs = [jnp.asarray(leaf)[None] for leaf in (x, *rest) if leaf is not None]
        out = getattr(nnx.merge(self.graphdef, params), self.method)(*inputs)[0]
        return unpack(out, self.pack) if self.pack > 1 else out


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


def _fill(build: Callable[[], nnx.Module], arrays: dict[str, np.ndarray]) -> tuple[Any, PyTree]:
    """Graph and parameters, without ever computing an initialization."""
    module = store.fill_nnx(nnx.eval_shape(build), arrays)
    module.eval()
    graphdef, params = nnx.split(module)
    return graphdef, nnx.to_pure_dict(params)


def _denoiser(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Denoiser:
    network_time, schedule = config["network_time"], schedule_from_dict(config["schedule"])
    configs.check_choice("network_time", network_time, NETWORK_TIMES)
    configs.check_choice("prediction", config["prediction"], get_args(Prediction))
    if network_time == "index" and not isinstance(schedule, schedules.Discrete):
        raise ValueError(
            f"network_time='index' needs a Discrete schedule, not {type(schedule).__name__}; {configs.FIX}"
        )
    unet = configs.unet_config(config, len(arrays))
    graphdef, params = _fill(lambda: UNet2D(unet, rngs=nnx.Rngs(0)), arrays)
    return constructors.from_fn(
        _OneSample(graphdef, pack=config["pack"]),
        params,
        schedule,
        prediction=config["prediction"],
        shape=tuple(config["shape"]),
        network_time=NETWORK_TIMES[network_time],
        num_classes=config["num_classes"],
        null_cond=config["null_class"],
    )


def _molecules(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Denoiser:
    """A molecule as one array (max_atoms, 3 + features), its atom count as the condition."""
    net, max_atoms = configs.egnn_config(config, len(arrays)), configs.max_atoms(config)
    graphdef, params = _fill(lambda: EGNN(net, rngs=nnx.Rngs(0)), arrays)
    return constructors.from_fn(
        OneMolecule(graphdef, net),
        params,
        schedule_from_dict(config["schedule"]),
        prediction="x0",
        domain=molecules(max_atoms, net.num_features),
        network_time=denoiser.log_sigma_time,
        num_classes=max_atoms + 1,
    )


def _properties(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> PropertyPredictor:
    net, names = configs.egnn_config(config, len(arrays)), configs.property_names(config)
    graphdef, params = _fill(lambda: PropertyNet(net, len(names), rngs=nnx.Rngs(0)), arrays)
    mean, scale = (jnp.asarray(config[key], jnp.float32) for key in ("mean", "scale"))
    return PropertyPredictor(params, mean, scale, graphdef, names, config["name"])


def _classifier(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Classifier | NoisyClassifier:
    configs.check_choice("network", config["network"], CLASSIFIERS)
    network, network_config = CLASSIFIERS[config["network"]]
    noisy = config["kind"] == "noisy-classifier"
    if noisy != (network is classifiers.NoisyGuideNet):
        raise ValueError(f"kind={config['kind']!r} does not fit network={config['network']!r}; {configs.FIX}")
    net = configs.net_config(config, network_config, len(arrays))
    graphdef, params = _fill(lambda: network(net, rngs=nnx.Rngs(0)), arrays)
    common = {"params": params, "num_classes": net.num_classes, "name": config["name"]}
    shape = tuple(config["shape"])
    apply, features = (_OneSample(graphdef, method, shape=shape) for method in ("__call__", "features"))
    return NoisyClassifier(apply=apply, **common) if noisy else Classifier(apply=apply, features_of=features, **common)


BUILDERS = {
    "diffusion": _denoiser,
    "classifier": _classifier,
    "noisy-classifier": _classifier,
    "molecules": _molecules,
    "molecule-properties": _properties,
}
