"""Released weights as the objects the library works with: `load(name)` gives a denoiser or a classifier.

A configuration names what it needs (kind, network, schedule); the names are translated here, at the door, alone.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax import denoiser, schedules, struct
from tfg_jax.denoiser import Denoiser
from tfg_jax.models import classifiers
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier
from tfg_jax.weights import store
from tfg_jax.weights.manifest import checkpoints_dir, load_manifest, sha256_of

SCHEDULES = (
    schedules.VPLinear, schedules.VPCosine, schedules.VPTruncatedCosine, schedules.VE, schedules.EDM,
    schedules.RectifiedFlow,
)  # fmt: skip
NETWORK_TIMES = {
    "unit": denoiser.unit_time,
    "thousand": denoiser.thousand_time,
    "index": denoiser.index_time,
    "log_sigma": denoiser.log_sigma_time,
}
CLASSIFIERS = {
    "GuideNet": (classifiers.GuideNet, classifiers.GuideConfig),
    "EvaluatorNet": (classifiers.EvaluatorNet, classifiers.EvaluatorConfig),
    "NoisyGuideNet": (classifiers.NoisyGuideNet, classifiers.NoisyGuideConfig),
}


def load(name_or_path: str | os.PathLike, *, max_bytes: int = store.MAX_BYTES) -> Any:
    """The model of a released name (checked against the manifest's sha256) or of a folder of your own.

    Args:
        name_or_path: a name of the manifest, such as "fashion-mnist-guide", or a folder of `store.save_weights`.
        max_bytes: largest weights file accepted.
    Returns:
        A `Denoiser`, `Classifier` or `NoisyClassifier`, as the configuration's kind says.
    Raises:
        FileNotFoundError: neither a released name nor a folder.
        ValueError: damaged files, or a configuration this version does not know.
    """
    config, arrays = _read(name_or_path, max_bytes)
    try:
        kind = config["kind"]
        if kind == "diffusion":
            return _denoiser(config, arrays)
        if kind in ("classifier", "noisy-classifier"):
            return _classifier(config, arrays)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the configuration of {str(name_or_path)!r} lacks or misuses {error}; fetch it again."
        ) from None
    raise ValueError(
        f"{str(name_or_path)!r} is of kind {kind!r}; use diffusion, classifier or noisy-classifier weights."
    )


def load_moments(name_or_path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean (F,), covariance (F, F), both float64, and count of an evaluator's features of its test images.

    Raises as `load`; FileNotFoundError also if the weights come without moments.
    """
    folder, expected = _find(name_or_path)
    arrays = store.load_arrays(folder / "moments.safetensors", expected.get("moments.safetensors"))
    if set(arrays) != {"mean", "covariance", "count"}:
        raise ValueError(f"{folder / 'moments.safetensors'} holds no mean, covariance and count; fetch it again.")
    return arrays["mean"], arrays["covariance"], int(arrays["count"])


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
    if network_time not in NETWORK_TIMES:
        raise ValueError(f"network_time={network_time!r} is unknown; use one of {', '.join(NETWORK_TIMES)}.")
    return {
        "kind": "diffusion", "name": name, "unet": unet.to_dict(),
        "schedule": schedule_to_dict(schedule), "prediction": prediction, "network_time": network_time,
        "shape": list(shape), "num_classes": num_classes, "null_class": null_class, "pack": pack,
    }  # fmt: skip


def schedule_to_dict(schedule: schedules.Schedule) -> dict[str, Any]:
    """A schedule as JSON values; `schedule_from_dict` gives it back."""
    if isinstance(schedule, schedules.Discrete):
        return {"kind": "Discrete", "log_alpha": np.asarray(schedule.log_alpha, np.float64).tolist()}
    if type(schedule) not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r} cannot be stored; use one of tfg_jax.schedules.")
    values = {field: float(getattr(schedule, field)) for field in schedule.__dataclass_fields__}  # type: ignore
    return {"kind": type(schedule).__name__, **values}


def schedule_from_dict(values: dict[str, Any]) -> schedules.Schedule:
    """The schedule of `schedule_to_dict`. Raises ValueError on an unknown name or parameter."""
    parameters = dict(values)
    kind = parameters.pop("kind", None)
    if kind == "Discrete":
        return schedules.Discrete(jnp.asarray(parameters["log_alpha"], float))
    known = {schedule.__name__: schedule for schedule in SCHEDULES}
    if kind not in known or set(parameters) - set(known[kind].__dataclass_fields__):
        raise ValueError(f"schedule {values!r} is unknown; use one of {', '.join(known)} with its own parameters.")
    return known[kind](**parameters)


@struct.dataclass
class _OneSample:
    """A method of a batched NNX network as a function `(params, *inputs)` of one sample; hashable, so jit caches it."""

    graphdef: Any = struct.field(pytree_node=False)
    method: str = struct.field(pytree_node=False, default="__call__")
    pack: int = struct.field(pytree_node=False, default=1)

    def __call__(self, params: PyTree, x: Array, *rest: Any) -> Array:
        x = pack(x, self.pack) if self.pack > 1 else x
        inputs = [jnp.asarray(leaf)[None] for leaf in (x, *rest) if leaf is not None]
        out = getattr(nnx.merge(self.graphdef, params), self.method)(*inputs)[0]
        return unpack(out, self.pack) if self.pack > 1 else out


def _find(name_or_path: str | os.PathLike) -> tuple[Path, dict[str, str]]:
    """Folder and expected hashes."""
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


def _read(name_or_path: str | os.PathLike, max_bytes: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    folder, expected = _find(name_or_path)
    return store.read_weights(folder, expected or None, max_bytes=max_bytes)


def _fill(build: Callable[[], nnx.Module], arrays: dict[str, np.ndarray]) -> tuple[Any, PyTree]:
    """Graph and parameters, without ever computing an initialisation."""
    module = store.fill_nnx(nnx.eval_shape(build), arrays)
    module.eval()
    graphdef, params = nnx.split(module)
    return graphdef, nnx.to_pure_dict(params)


def _denoiser(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Denoiser:
    if config["network_time"] not in NETWORK_TIMES:
        raise ValueError(f"network_time {config['network_time']!r} is unknown; use one of {', '.join(NETWORK_TIMES)}.")
    unet = UNet2DConfig.from_dict(config["unet"])
    graphdef, params = _fill(lambda: UNet2D(unet, rngs=nnx.Rngs(0)), arrays)
    return denoiser.from_fn(
        _OneSample(graphdef, pack=config["pack"]),
        params,
        schedule_from_dict(config["schedule"]),
        prediction=config["prediction"],
        shape=tuple(config["shape"]),
        network_time=NETWORK_TIMES[config["network_time"]],
        num_classes=config["num_classes"],
        null_cond=config["null_class"],
    )


def _classifier(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Classifier | NoisyClassifier:
    if config["network"] not in CLASSIFIERS:
        raise ValueError(f"network {config['network']!r} is unknown; use one of {', '.join(CLASSIFIERS)}.")
    network, network_config = CLASSIFIERS[config["network"]]
    net_config = network_config.from_dict(config["net"])
    graphdef, params = _fill(lambda: network(net_config, rngs=nnx.Rngs(0)), arrays)
    common = {"params": params, "num_classes": net_config.num_classes, "name": config["name"]}
    if config["kind"] == "noisy-classifier":
        return NoisyClassifier(apply=_OneSample(graphdef), **common)
    return Classifier(apply=_OneSample(graphdef), features_of=_OneSample(graphdef, method="features"), **common)
