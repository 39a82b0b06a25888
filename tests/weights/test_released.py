"""Released weights: what is loaded is what was saved, as the object the library works with; shipped files match."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tfg_jax import denoiser, schedules
from tfg_jax.models import classifiers
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.weights import manifest, released, store

ALL_SCHEDULES = [
    schedules.VPLinear(beta_max=15.0),
    schedules.VPCosine(offset=0.01),
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


def random_module(build) -> Any:
    """A module with random weights, and their flat arrays, without compiling its initialisation."""
    rng = np.random.default_rng(0)
    module = nnx.eval_shape(build)
    state = nnx.state(module, nnx.Not(nnx.RngState))
    names = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(state)}
    flat = {name: rng.normal(size=shape).astype(np.float32) / 4 for name, shape in names.items()}
    return store.fill_nnx(module, flat), flat


def save_classifier(folder, network, kind="classifier"):
    cls, config = NETS[network]
    module, flat = random_module(lambda: cls(config, rngs=nnx.Rngs(0)))
    head = {"kind": kind, "name": "mine", "network": network, "shape": [12, 12, 1]}
    store.save_weights(folder, {**head, "net": config.to_dict()}, flat)
    return module


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: type(s).__name__)
def test_schedules_survive_json(schedule):
    again = released.schedule_from_dict(json.loads(json.dumps(released.schedule_to_dict(schedule))))
    assert type(again) is type(schedule)
    t = jnp.linspace(0.05, 0.95, 9)
    np.testing.assert_array_equal(again.alpha(t), schedule.alpha(t))
    np.testing.assert_array_equal(again.sigma(t), schedule.sigma(t))


@pytest.mark.parametrize("values", [{}, {"kind": "Magic"}, {"kind": "EDM", "sigma_min": 1.0}])
def test_unknown_schedules_are_refused(values):
    with pytest.raises(ValueError, match="schedule"):
        released.schedule_from_dict(values)


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
    module = save_classifier(tmp_path, "NoisyGuideNet", "noisy-classifier")
    loaded = released.load(tmp_path)
    x = np.random.default_rng(1).normal(size=(12, 12, 1)).astype(np.float32)
    level = schedules.EDM().level(0.01)
    graphdef, params = nnx.split(module)
    expected = jax.jit(lambda x, l: nnx.merge(graphdef, params)(x, l))(x[None] / level.scale, level.log_snr[None])
    np.testing.assert_allclose(jax.jit(lambda x: loaded(x, level))(x), expected[0], rtol=1e-5, atol=1e-5)


def test_a_diffusion_model_comes_back(tmp_path):
    config = UNet2DConfig(
        in_channels=4, out_channels=4, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, attention_head_dim=8, num_class_embeds=4,
    )  # fmt: skip
    module, flat = random_module(lambda: UNet2D(config, rngs=nnx.Rngs(0)))
    schedule = schedules.VPCosine()
    options = {"prediction": "v", "shape": (8, 8, 1), "num_classes": 3}
    head = released.diffusion_config("mine", config, schedule, network_time="thousand", null_class=3, pack=2, **options)
    store.save_weights(tmp_path, head, flat)
    loaded = released.load(tmp_path)
    assert (loaded.shape, loaded.num_classes, loaded.null_cond) == ((8, 8, 1), 3, 3)

    graphdef, params = nnx.split(module)

    def apply(params, x, t, cond):
        return unpack(nnx.merge(graphdef, params)(pack(x[None], 2), t[None], cond[None])[0], 2)

    expected = denoiser.from_fn(apply, params, schedule, network_time=denoiser.thousand_time, null_cond=3, **options)
    x = np.random.default_rng(1).normal(size=(8, 8, 1)).astype(np.float32)
    both = jax.jit(lambda x, c: (loaded(x, 0.5, c), expected(x, 0.5, c)))(x, jnp.array(2))
    np.testing.assert_allclose(both[0].x0, both[1].x0, rtol=1e-5, atol=1e-5)
    assert np.abs(both[0].x0).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "oracle"}, "kind 'oracle'"),
        ({"network": "VGG"}, "network 'VGG'"),
        ({"net": {"depth": 3}}, "no field 'depth'"),
        ({"net": None}, "lacks or misuses"),
        ({"name": ...}, "lacks or misuses 'name'"),
        ({"net": {"side": 12, "widths": [4, 4], "blocks": [1, 1]}}, "weights"),
    ],
)
def test_foreign_configurations_are_refused(tmp_path, change, message):
    save_classifier(tmp_path, "GuideNet")
    config, arrays = store.read_weights(tmp_path)
    config = {k: v for k, v in (config | change).items() if v is not ...}
    store.save_weights(tmp_path, config, arrays)
    with pytest.raises(ValueError, match=message):
        released.load(tmp_path)


def test_released_names_are_checked_against_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(released, "checkpoints_dir", lambda: tmp_path)
    save_classifier(tmp_path / "guide", "GuideNet")
    moments = {"mean": np.zeros(2), "covariance": np.eye(2), "count": np.array(9, np.int64)}
    store.save_arrays(tmp_path / "guide" / "moments.safetensors", moments)
    facts = {"licence": "MIT", "data": "none", "command": "none", "metrics": {"accuracy": 0.5}}
    entry = manifest.add_to_manifest("guide", kind="classifier", folder=tmp_path, **facts)
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
    manifest.add_to_manifest("guide", kind="classifier", folder=tmp_path, **facts)
    assert released.load("guide").name == "mine"


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2, "weights": []}'])
def test_bad_manifests_are_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="manifest"):
        manifest.load_manifest(tmp_path)


def test_weights_are_saved_before_they_are_recorded(tmp_path):
    facts = {"kind": "classifier", "licence": "", "data": "", "command": "", "metrics": {}}
    with pytest.raises(FileNotFoundError, match="save the weights"):
        manifest.add_to_manifest("guide", folder=tmp_path, **facts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(manifest.load_manifest()))
def test_shipped_weights_are_whole(name):
    """Every released folder reads back under its recorded hashes and has a model card."""
    entry, folder = manifest.load_manifest()[name], manifest.checkpoints_dir() / name
    config, arrays = store.read_weights(folder, manifest.sha256_of(entry))
    assert config["kind"] == entry["kind"] and all(np.isfinite(array).all() for array in arrays.values())
    assert (folder / "README.md").read_text("utf-8").startswith(f"# {name}")
    for file, facts in entry["files"].items():
        assert (folder / file).stat().st_size == facts["bytes"]
