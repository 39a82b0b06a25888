"""Released weights: what is loaded is what was saved, as the object the library works with; shipped files match."""

import dataclasses
import inspect
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tfg_jax import constructors, denoiser, schedules
from tfg_jax.config import to_dict
from tfg_jax.models import classifiers, family
from tfg_jax.models.config import NetworkConfig
from tfg_jax.models.egnn import network as egnn
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.schedule_json import schedule_from_dict
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.objectives.classifier import Classifier
from tfg_jax.weights import manifest, old, released, store

ALL_SCHEDULES = [
    schedules.VPLinear(beta_max=15.0),
    schedules.VPCosine(offset=0.01),
    schedules.VPPolynomial(floor=1e-4),
    schedules.VE(sigma_max=20.0),
    schedules.EDM(),
    schedules.RectifiedFlow(),
    schedules.from_alphas_cumprod(np.linspace(0.99, 0.01, 7)),
]
NETS = {
    "GuideNet": (classifiers.GuideNet, classifiers.GuideConfig(side=12, widths=(4,), blocks=(1,))),
    "EvaluatorNet": (classifiers.EvaluatorNet, classifiers.EvaluatorConfig(side=12, width=4, depths=(1, 1))),
    "NoisyGuideNet": (classifiers.NoisyGuideNet, classifiers.NoisyGuideConfig(side=12, widths=(4,), blocks=(1,))),
}

NET = NETS["GuideNet"][1].to_dict()
UNET = UNet2DConfig(
    in_channels=4, out_channels=4, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, attention_head_dim=8, num_class_embeds=4,
)  # fmt: skip


def random_module(build) -> Any:
    """A module with random weights, and their flat arrays, without compiling its initialization."""
    rng = np.random.default_rng(0)
    module = nnx.eval_shape(build)
    state = nnx.state(module, nnx.Not(nnx.RngState))
    names = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(state)}
    flat = {name: rng.normal(size=shape).astype(np.float32) / 4 for name, shape in names.items()}
    return store.fill_nnx(module, flat), flat


def save_classifier(folder, network):
    cls, config = NETS[network]
    module, flat = random_module(lambda: cls(config, rngs=nnx.Rngs(0)))
    head = {"architecture": f"classifiers.{network}", "name": "mine", "shape": [12, 12, 1]}
    store.save_weights(folder, {**head, "network": config.to_dict()}, flat)
    return module


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: type(s).__name__)
def test_schedules_survive_json(schedule):
    again = schedule_from_dict(json.loads(json.dumps(to_dict(schedule))))
    assert type(again) is type(schedule)
    t = jnp.linspace(0.05, 0.95, 9)
    np.testing.assert_array_equal(again.alpha(t), schedule.alpha(t))
    np.testing.assert_array_equal(again.sigma(t), schedule.sigma(t))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"type": "Magic"},
        {"type": ["EDM"]},
        {"type": "EDM", "sigma_min": 1.0},
        {"type": "EDM", "sigma_max": True},
        {"type": "EDM", "sigma_max": math.nan},
        {"type": "EDM", "sigma_max": 0},
        {"type": "VE", "sigma_min": 2.0, "sigma_max": 1.0},
        {"type": "VPLinear", "beta_min": 0.0},
        {"type": "VPTruncatedCosine", "log_snr_min": None},
        {"type": "RectifiedFlow", "t_start": 1.0},
        {"type": "Discrete"},
        {"type": "Discrete", "log_alpha": [0.0, "x"]},
        {"type": "Discrete", "log_alpha": [0.0, -1.0, -0.5]},
        {"type": "Discrete", "log_alpha": [0.0, -1.0], "offset": 1.0},
    ],
)
def test_unknown_schedules_are_refused(values):
    with pytest.raises(ValueError, match="schedule"):
        schedule_from_dict(values)


@pytest.mark.parametrize("network", ["GuideNet", "EvaluatorNet"])
def test_a_classifier_comes_back(tmp_path, network):
    module = save_classifier(tmp_path, network)
    loaded = released.load(tmp_path)
    x = np.random.default_rng(1).normal(size=(12, 12, 1)).astype(np.float32)
    assert (loaded.name, loaded.num_classes) == ("mine", 10)
    logits, features = nnx.jit(lambda net, x: (net(x), net.features(x)))(module, x[None])
    ours = jax.jit(lambda x: (loaded(x), loaded.features(x)))(x)
    np.testing.assert_allclose(ours[0], logits[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1], features[0], rtol=1e-5, atol=1e-5)


def test_a_noisy_classifier_comes_back_and_works_on_any_schedule(tmp_path):
    module = save_classifier(tmp_path, "NoisyGuideNet")
    loaded = released.load(tmp_path)
    x = np.random.default_rng(1).normal(size=(12, 12, 1)).astype(np.float32)
    level = schedules.EDM().level(0.01)
    graphdef, params = nnx.split(module)
    expected = jax.jit(lambda x, l: nnx.merge(graphdef, params)(x, l))(x[None] / level.scale, level.log_snr[None])
    np.testing.assert_allclose(jax.jit(lambda x: loaded(x, level))(x), expected[0], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def diffusion():
    """Configuration and arrays of a small diffusion model."""
    options = {"prediction": "v", "network_time": "thousand", "shape": (8, 8, 1), "num_classes": 3}
    head = released.diffusion_config("mine", UNET, schedules.VPCosine(), null_cond=3, pack=2, **options)
    return head, random_module(lambda: UNet2D(UNET, rngs=nnx.Rngs(0)))[1]


def test_a_diffusion_model_comes_back(tmp_path):
    module, flat = random_module(lambda: UNet2D(UNET, rngs=nnx.Rngs(0)))
    schedule = schedules.VPCosine()
    options = {"prediction": "v", "shape": (8, 8, 1), "num_classes": 3}
    head = released.diffusion_config("mine", UNET, schedule, network_time="thousand", null_cond=3, pack=2, **options)
    store.save_weights(tmp_path, head, flat)
    loaded = released.load(tmp_path)
    assert (loaded.shape, loaded.num_classes, loaded.null_cond) == ((8, 8, 1), 3, 3)

    graphdef, params = nnx.split(module)

    def apply(params, x, t, cond):
        return unpack(nnx.merge(graphdef, params)(pack(x[None], 2), t[None], cond[None])[0], 2)

    options |= {"network_time": denoiser.thousand_time, "null_cond": 3}
    expected = constructors.from_fn(apply, params, schedule, **options)
    x = np.random.default_rng(1).normal(size=(8, 8, 1)).astype(np.float32)
    both = jax.jit(lambda x, c: (loaded(x, 0.5, c), expected(x, 0.5, c)))(x, jnp.array(2))
    np.testing.assert_allclose(both[0].x0, both[1].x0, rtol=1e-5, atol=1e-5)
    assert np.abs(both[0].x0).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "oracle"}, "architecture='oracle' must be a network in one of classifiers, egnn, unet2d"),
        ({"architecture": "os.path"}, "architecture='os.path' must be a network in"),
        ({"architecture": "classifiers.VGG"}, "'classifiers.VGG' must be one of classifiers.GuideNet, "),
        ({"architecture": "egnn.EGNN"}, "network has no field 'side'"),
        ({"architecture": ["GuideNet"]}, "must be a network in"),
        ({"architecture": "test_released:TINY"}, r"is code outside of the library; .* allow=\['test_released'\]"),
        ({"architecture": ...}, "lacks or misuses 'architecture'"),
        ({"network": {"depth": 3}}, "network has no field 'depth'"),
        ({"network": None}, "network=None must be an object"),
        ({"network": {**NET, "num_classes": "10"}}, "network.num_classes='10' must be of type int"),
        ({"network": {**NET, "num_classes": 1}}, "num_classes=1 must be 2 or more"),
        ({"network": {**NET, "widths": 4}}, r"network.widths=4 must be of type list\[int, ...\]"),
        ({"network": {**NET, "channels": True}}, "network.channels=True must be of type int"),
        ({"network": {**NET, "blocks": [10**9]}}, "asks for 1000000001 layers"),
        ({"shape": "abc"}, "shape='abc' must be a list of positive integers"),
        ({"shape": [12, 12, 3]}, r"shape=\[12, 12, 3\] must be \[side, side, channels\]"),
        ({"shape": [12, 12]}, "shape="),
        ({"shape": ...}, "lacks or misuses 'shape'"),
        ({"name": ...}, "lacks or misuses 'name'"),
        ({"name": 3}, "name=3 must be a text"),
        ({"network": {"side": 12, "widths": [4, 4], "blocks": [1, 1]}}, "weights"),
        ({"kind": "oracle"}, "kind='oracle' is unknown"),
        ({"kind": "noisy-classifier", "network": "GuideNet"}, "does not fit network='GuideNet'"),
    ],
)
def test_foreign_configurations_are_refused(tmp_path, change, message):
    save_classifier(tmp_path, "GuideNet")
    config, arrays = store.read_weights(tmp_path)
    config = {k: v for k, v in (config | change).items() if v is not ...}
    store.save_weights(tmp_path, config, arrays)
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        released.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pack": "2"}, "pack='2' must be an integer >= 1; correct it"),
        ({"pack": 0}, "pack=0 must be an integer"),
        ({"pack": -2}, "pack=-2 must be an integer"),
        ({"pack": 3}, r"pack=3 must be a divisor of both sides of shape=\[8, 8, 1\]"),
        ({"pack": 4}, "in_channels=4 must be 16"),
        ({"shape": "abc"}, "shape='abc' must be a list of positive"),
        ({"shape": [8, 8, 3]}, "in_channels=4 must be 12, the channels of shape="),
        ({"shape": [8, 8, 1.0]}, "list of positive"),
        ({"num_classes": "10"}, "num_classes='10' must be an integer"),
        ({"num_classes": 5}, "num_classes=5 must be between 1 and network.num_class_embeds=4"),
        ({"num_classes": None}, "num_classes=None must be between"),
        ({"null_cond": 4}, "null_cond=4 must be below network.num_class_embeds=4"),
        ({"null_cond": -1}, "null_cond=-1 must be an integer >= 0"),
        ({"schedule": {"type": "VPCosine", "offset": "x"}}, "schedule: offset='x' must be a real number"),
        ({"schedule": {"type": "VPCosine", "offset": -1}}, "schedule: offset=-1 must be a finite number >= 0"),
        ({"schedule": None}, "schedule=None must be an object"),
        ({"network_time": ["unit"]}, "must be one of"),
        ({"network_time": "index"}, "needs a Discrete schedule, not VPCosine"),
        ({"prediction": "magic"}, "prediction='magic' must be one of"),
        ({"network": []}, r"network=\[\] must be an object"),
        ({"network": {**UNET.to_dict(), "flip_sin_to_cos": "no"}}, "network.flip_sin_to_cos='no' must be of type bool"),
        ({"network": {**UNET.to_dict(), "norm_eps": 10**400}}, "network.norm_eps=1000.* must be of type float"),
        ({"network": {**UNET.to_dict(), "layers_per_block": 10**9}}, "asks for 1000000000 layers"),
        ({"network": {**UNET.to_dict(), "num_class_embeds": None}}, "num_classes=3 must be null"),
    ],
)
def test_wrong_values_of_a_diffusion_model_are_refused(diffusion, tmp_path, change, message):
    config, arrays = diffusion
    store.save_weights(tmp_path, config | change, arrays)
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
        released.load(tmp_path)


EGNN = EGNNConfig(width=8, pair_width=4, pair_hidden=4, heads=2, vectors=2, layers=1, radial=4)


def save_molecules(folder, change=None):
    module, flat = random_module(lambda: egnn.EGNN(EGNN, rngs=nnx.Rngs(0)))
    config = released.diffusion_config(
        "mine", EGNN, schedules.VPPolynomial(), architecture="egnn.EGNN", prediction="x0", network_time="log_sigma",
        shape=(4, 9), num_classes=5,
    )  # fmt: skip
    store.save_weights(folder, {k: v for k, v in (config | (change or {})).items() if v is not ...}, flat)
    return module


def save_properties(folder, change=None):
    module, flat = random_module(lambda: PropertyNet(EGNN, 2, rngs=nnx.Rngs(0)))
    config = {"architecture": "egnn.PropertyNet", "name": "mine", "network": EGNN.to_dict()}
    config |= {"properties": ["mu", "gap"], "mean": [1.0, 2.0], "scale": [3.0, 4.0]}
    store.save_weights(folder, {k: v for k, v in (config | (change or {})).items() if v is not ...}, flat)
    return module


def test_molecule_networks_come_back(tmp_path):
    x = np.random.default_rng(1).normal(size=(4, 9)).astype(np.float32)
    mask = jnp.arange(4)[None] < 3
    module, loaded = save_molecules(tmp_path / "model"), released.load(tmp_path / "model")
    assert (loaded.shape, loaded.num_classes) == ((4, 9), 5)
    level = loaded.schedule.log_snr(0.5)[None]
    expected = nnx.jit(lambda net, x: net(x[None, :, :3], x[None, :, 3:], mask, level))(module, x)
    found = jax.jit(lambda x: loaded(x, 0.5, 3).x0)(x)
    np.testing.assert_allclose(found, np.concatenate([part[0] for part in expected], -1), rtol=1e-4, atol=1e-5)

    module, loaded = save_properties(tmp_path / "guide"), released.load(tmp_path / "guide")
    raw = nnx.jit(lambda net, x: net(x[None, :, :3], x[None, :, 3:], mask, jnp.full(1, jnp.inf)))(module, x)[0]
    assert (loaded.name, loaded.names) == ("mine", ("mu", "gap"))
    found = jax.jit(lambda x: loaded(x, 3))(x)
    np.testing.assert_allclose(found, raw * np.array([3.0, 4.0]) + np.array([1.0, 2.0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("save", "change", "message"),
    [
        (save_molecules, {"shape": [0, 9]}, "must be a list of positive integers"),
        (save_molecules, {"shape": [4, 8]}, r"shape=\[4, 8\] must be \[atoms, 9\]"),
        (save_molecules, {"num_classes": 4}, "num_classes=4 must be 5, as of every molecule network"),
        (save_molecules, {"prediction": "eps"}, "prediction='eps' must be x0"),
        (save_molecules, {"shape": ...}, "lacks or misuses 'shape'"),
        (save_molecules, {"network": {**EGNN.to_dict(), "width": "8"}}, "network.width='8' must be of type int"),
        (save_molecules, {"network": {**EGNN.to_dict(), "width": 0}}, "width=0 must be above 0"),
        (save_molecules, {"network": {**EGNN.to_dict(), "heads": 3}}, "heads=3 must be a divisor of width=8"),
        (save_molecules, {"network": {**EGNN.to_dict(), "layers": 10**9}}, "asks for 1000000000 layers"),
        (save_molecules, {"network": {**EGNN.to_dict(), "depth": 2}}, "no field 'depth'"),
        (save_molecules, {"network": {**EGNN.to_dict(), "width": 16}}, "weights"),
        (save_properties, {"properties": "mu"}, "properties='mu' must be a list of texts"),
        (save_properties, {"properties": []}, "must be a list of texts"),
        (save_properties, {"mean": [1.0]}, "must be a list of 2 finite numbers"),
        (save_properties, {"scale": [1.0, "x"]}, "must be a list of 2 finite numbers"),
        (save_properties, {"scale": ...}, "lacks or misuses 'scale'"),
    ],
)
def test_wrong_values_of_molecule_networks_are_refused(tmp_path, save, change, message):
    save(tmp_path, change)
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        released.load(tmp_path)


@dataclasses.dataclass(frozen=True)
class TinyConfig(NetworkConfig):
    """The configuration of an architecture that the library does not know."""

    features: int = 2


class TinyNet(nnx.Module):
    def __init__(self, config, *, rngs):
        self.linear = nnx.Linear(config.features, config.features, rngs=rngs)

    def __call__(self, x, t, cond=None):
        return self.linear(x) * t[:, None]


TINY = family.Family(TinyConfig, TinyNet)


def test_an_architecture_of_ones_own_is_one_declaration(tmp_path):
    module, flat = random_module(lambda: TinyNet(TinyConfig(3), rngs=nnx.Rngs(0)))
    architecture, options = f"{__name__}:TINY", {"prediction": "velocity", "network_time": "unit", "shape": (3,)}
    config = released.diffusion_config(
        "mine", TinyConfig(3), schedules.RectifiedFlow(), architecture=architecture, **options
    )
    store.save_weights(tmp_path, config, flat)
    loaded, x = released.load(tmp_path, allow=[__name__]), np.ones(3, np.float32)
    velocity = nnx.jit(lambda net, x: net(x[None], jnp.full(1, 0.5)))(module, x)[0]
    np.testing.assert_allclose(jax.jit(lambda x: loaded(x, 0.5).x0)(x), x - 0.5 * velocity, rtol=1e-5)
    with pytest.raises(ValueError, match="is code outside of the library"):
        released.load(tmp_path)


def test_configurations_before_format_2_are_read():
    """Those of shipped folders are; this is the one kind that none of them has."""
    network = {"width": 8}
    before = {"kind": "molecule-properties", "name": "mine", "egnn": network, "mean": [0.0]}
    assert old.upgraded(before) == {
        "architecture": "egnn.PropertyNet", "name": "mine", "network": network, "mean": [0.0]
    }  # fmt: skip


@pytest.mark.parametrize("name", [3, None, b"fashion-mnist", ["fashion-mnist"]])
def test_only_names_and_paths_are_looked_up(name):
    for load in (released.load, released.load_moments):
        with pytest.raises(ValueError, match="name_or_path=.* give a released name or a folder"):
            inspect.unwrap(load)(name)


def test_a_classifier_says_which_images_it_reads(tmp_path):
    save_classifier(tmp_path, "GuideNet")
    loaded = released.load(tmp_path)
    assert released.input_shape(loaded) == (12, 12, 1)
    assert released.input_shape(Classifier(None, lambda params, x: x, 2)) is None
    for call in (loaded, loaded.features):
        with pytest.raises(ValueError, match=r"reads samples of shape \(12, 12, 1\), got \(12, 12, 3\)"):
            call(jnp.zeros((12, 12, 3)))


def test_moments_of_other_shapes_are_refused(tmp_path):
    moments = {"mean": np.zeros(2), "covariance": np.eye(3), "count": np.array(9, np.int64)}
    store.save_arrays(tmp_path / "moments.safetensors", moments)
    with pytest.raises(ValueError, match="holds arrays of shapes"):
        released.load_moments(tmp_path)


def test_released_names_are_checked_against_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(released, "checkpoints_dir", lambda: tmp_path)
    save_classifier(tmp_path / "guide", "GuideNet")
    moments = {"mean": np.zeros(2), "covariance": np.eye(2), "count": np.array(9, np.int64)}
    store.save_arrays(tmp_path / "guide" / "moments.safetensors", moments)
    facts = {"licence": "MIT", "data": "none", "command": "none", "metrics": {"accuracy": 0.5}}
    entry = manifest.add_to_manifest("guide", folder=tmp_path, **facts)
    assert set(entry["files"]) == {"config.json", "model.safetensors", "moments.safetensors"}
    assert manifest.load_manifest(tmp_path) == {"guide": entry}
    assert released.load("guide").name == "mine"
    assert released.load_moments("guide")[2] == 9
    with pytest.raises(FileNotFoundError, match="neither a released name \\(guide\\)"):
        released.load("fashion-mnist-missing")

    save_classifier(tmp_path / "guide", "EvaluatorNet")  # a consistent pair, but not the released one
    store.save_arrays(tmp_path / "guide" / "moments.safetensors", {**moments, "mean": np.ones(2)})
    with pytest.raises(ValueError, match="sha256"):
        released.load("guide")
    with pytest.raises(ValueError, match="sha256"):
        released.load_moments("guide")
    manifest.add_to_manifest("guide", folder=tmp_path, **facts)
    assert released.load("guide").name == "mine"


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2, "weights": []}'])
def test_bad_manifests_are_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="manifest"):
        manifest.load_manifest(tmp_path)


def test_weights_are_saved_before_they_are_recorded(tmp_path):
    facts = {"licence": "", "data": "", "command": "", "metrics": {}}
    with pytest.raises(FileNotFoundError, match="save the weights"):
        manifest.add_to_manifest("guide", folder=tmp_path, **facts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(manifest.load_manifest()))
def test_shipped_weights_are_whole(name):
    """Every released folder reads back under its recorded hashes and has a model card."""
    entry, folder = manifest.load_manifest()[name], manifest.checkpoints_dir() / name
    config, arrays = store.read_weights(folder, manifest.sha256_of(entry))
    model = released.load(name)  # its configuration passes every check
    config = old.upgraded(config)
    assert config["architecture"] == entry["architecture"]
    if config["architecture"] == "egnn.PropertyNet":
        assert model.names == ("mu", "alpha", "homo", "lumo", "gap", "cv")
    else:
        assert model.num_classes == (30 if config["architecture"] == "egnn.EGNN" else 10)
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert (folder / "README.md").read_text("utf-8").startswith(f"# {name}")
    for file, facts in entry["files"].items():
        assert (folder / file).stat().st_size == facts["bytes"]
