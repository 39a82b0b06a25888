"""Recipes: from data to released weights that `load` reads, with card, command and manifest entry."""

import dataclasses
import importlib
import json
import sys
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tfg_jax as tfg
from tfg_jax.cli.main import main
from tfg_jax.data import fashion_mnist
from tfg_jax.models import Family, NetworkConfig
from tfg_jax.tasks.find import recipes
from tfg_jax.training.recipe import Hyper, Lessons, OpenEnded, train
from tfg_jax.weights import diffusion_config, manifest


@dataclasses.dataclass(frozen=True)
class PairConfig(NetworkConfig):
    features: int = 2


class PairNet(nnx.Module):
    def __init__(self, config, *, rngs):
        self.linear = nnx.Linear(config.features, config.features, rngs=rngs)

    def __call__(self, x, t, cond=None):
        return self.linear(x)


PAIR = Family(PairConfig, PairNet)


@dataclasses.dataclass(frozen=True)
class Pairs(OpenEnded):
    """Data that are always (1, -1): the x0 prediction is a bias."""

    model: Hyper = Hyper(batch=4, lr=0.1, warmup=1, ema=0.0)
    name: ClassVar[str] = "test_recipes:RECIPE"
    architecture: ClassVar[str] = "test_recipes:PAIR"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "a pair"

    def module(self):
        return PairNet(PairConfig(), rngs=nnx.Rngs(self.model.seed))

    def lessons(self, graphdef):
        def loss(params, batch, key):
            x = batch + jax.random.normal(key, batch.shape)
            return jnp.square(nnx.merge(graphdef, params)(x, None) - batch).mean(), {}

        data = np.tile(np.array([1.0, -1.0], np.float32), (4, 1))
        say = lambda step, params, folder: (folder / f"seen_{step}").touch()  # noqa: E731
        return Lessons(loss, lambda step: data, lambda params: {"bias": 0.5}, say)

    def config(self, name):
        options = {"prediction": "x0", "network_time": "unit", "shape": (2,)}
        return diffusion_config(name, PairConfig(), tfg.VPCosine(), architecture=self.architecture, **options)

    def card(self, name, numbers):
        return "Pairs.", {"Bias": str(numbers["bias"])}, "More."


RECIPE = Pairs()


def test_a_recipe_of_ones_own_is_trained_released_and_gone_on_from(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "test_recipes", sys.modules[__name__])
    words = ["train", "test_recipes:RECIPE", "--steps", "40", "--sample-every", "20", "--model.lr", "0.2"]
    words += ["--folder", "state", "--export", "out/pair"]
    for name, said in (
        ("no_such:RECIPE", "recipe=no_such:RECIPE"),
        ("json:nothing", "recipe=json:nothing has no 'nothing'"),
        ("json:dumps", "recipe=json:dumps is a function; name a tfg_jax.training.Recipe"),
    ):
        assert main(["train", name, "--dry-run"]) == 2 and said in capsys.readouterr().err
    assert main([*words, "--dry-run"]) == 0 and not list(tmp_path.iterdir())
    assert "6 parameters, 40 updates" in capsys.readouterr().out
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "state").glob("seen_*")} == {"seen_20", "seen_40"}
    entry = manifest.load_manifest("out")["pair"]
    assert entry["command"] == "tfg-jax train test_recipes:RECIPE --lr 0.2 --steps 40"
    assert entry["metrics"] == {"parameters": 6, "updates": 40, "samples_seen": 160, "bias": 0.5}
    card = (tmp_path / "out" / "pair" / "README.md").read_text()
    assert card.startswith("# pair\n\nPairs.\n\n- Bias: 0.5\n- Data: a pair\n") and card.endswith("\nMore.\n")
    model = tfg.load(tmp_path / "out" / "pair", allow=["test_recipes"])
    np.testing.assert_allclose(model(jnp.zeros(2), 0.5).x0, [1.0, -1.0], atol=0.5)

    train(Pairs(model=Hyper(batch=4, init="out/pair"), folder=tmp_path / "next", steps=1, export=tmp_path / "out/two"))
    entry = manifest.load_manifest("out")["two"]
    assert entry["metrics"]["updates"] == 41 and entry["metrics"]["samples_seen"] == 164
    assert "--folder out/pair-state --export out/pair && tfg-jax train test_recipes:RECIPE" in entry["command"]
    with pytest.raises(ValueError, match=r"decay_from=50 must lie in \[0, steps=40\)"):
        train(dataclasses.replace(RECIPE, steps=40, decay_from=50))


def test_the_recipes_of_the_tasks_say_what_they_would_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--help"]) == 0
    listed = capsys.readouterr().out
    for name, (module, _) in recipes().items():
        assert f"  {name} " in listed and name in importlib.import_module(module).RECIPES
    for name in ("evaluator", "molecules-guide"):
        assert main(["train", name, "--dry-run"]) == 0
        assert "Nothing was trained or written" in capsys.readouterr().out
    assert main(["train"]) == 2  # hours of work are asked for
    shown = capsys.readouterr()
    assert (
        "Nothing was trained or written" in shown.out and "12,000 updates, which takes hours; pass --yes" in shown.err
    )
    assert not list(tmp_path.iterdir())
    bad = ["vae"], ["guide", "--epochs", "0"], ["guide", "--steps", "3"], ["--minutes", "-1"], ["--data", "nowhere"]
    for words in bad:
        assert main(["train", *words]) == 2 and "Traceback" not in capsys.readouterr().err


# What folders of training states hold that scripts wrote before recipes were part of the package.
BEFORE = {
    "molecules": "net batch lr warmup clip ema centre spread feature_weight bond_weight seed init",
    "molecules-guide": "which net batch lr warmup steps clip ema",
    "diffusion": "channels layers pack groups head_dim batch lr warmup clip ema p_uncond flip_classes seed init "
    "teacher",
    "evaluator": "which epochs batch learning_rate seed init net",
}


@pytest.mark.parametrize("name", BEFORE)
def test_training_goes_on_in_folders_of_earlier_versions(name):
    settings = importlib.import_module(recipes()[name][0]).RECIPES[name].settings()
    assert set(settings) == set(BEFORE[name].split())
    assert json.loads(json.dumps(settings))


def test_the_diffusion_model_is_trained_and_released(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (200, 28, 28, 1)).astype(np.float32)
    monkeypatch.setattr(fashion_mnist, "load", lambda split, folder=None: (images, np.arange(200) % 10))
    words = "--steps 2 --batch 2 --channels 4 --groups 2 --head-dim 4 --pack 4".split()
    folders = ["--folder", str(tmp_path / "state"), "--export", str(tmp_path / "out" / "mine")]
    assert main(["train", "diffusion", *words, *folders]) == 0
    model = tfg.load(tmp_path / "out" / "mine")
    assert model.null_cond == 10 and model.shape == (28, 28, 1)
    assert (tmp_path / "state" / "samples_0000002.png").is_file()
    entry = manifest.load_manifest(tmp_path / "out")["mine"]
    assert entry["architecture"] == "unet2d.UNet2D" and entry["metrics"]["updates"] == 2
    assert entry["command"].startswith("tfg-jax train diffusion --batch 2 --channels 4 ")
