"""Tiny networks with random weights, so that commands run in seconds and need no released weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIDE = 28
OWN = '''
import jax.numpy as jnp
import tfg_jax as tfg

data = tfg.analytic.mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.05 * jnp.eye(2)] * 2)


def near(x0, target):
    return -2.0 * jnp.sum((x0 - target) ** 2)


def flipped(x0, target):
    return near(x0, -target)


def other():
    return data.denoiser(tfg.VPLinear())


class Mine(tfg.DPS):
    """A method of one's own."""


task = tfg.tasks.own_task(
    data.denoiser(tfg.VPCosine()),
    objective=near,
    targets=jnp.array([[1.0, 0.3], [-1.0, 0.3]]),
    evaluate=lambda x, target: {"distance": jnp.linalg.norm(x - target, axis=1)},
    presets={"tfg": tfg.TFG(rho=0.5, mu=0.1), "dps": tfg.DPS(0.5)},
    sampler=tfg.DDIM(steps=3, eta=0.5),
)
'''


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A folder with the weights `model`, `guide`, `noisy` and `evaluator` (which comes with moments).

    `plain` is a model without classes, `colour` one of 8 x 8 colour images, `other` an evaluator of 8 x 8 grey ones.
    """
    from flax import nnx

    from tfg_jax import schedules
    from tfg_jax.models import classifiers
    from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
    from tfg_jax.weights import released, store

    root, rng = tmp_path_factory.mktemp("weights"), np.random.default_rng(0)

    def arrays(cls: Any, config: Any):
        state = nnx.state(nnx.eval_shape(lambda: cls(config, rngs=nnx.Rngs(0))), nnx.Not(nnx.RngState))
        shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(state)}
        return {name: (rng.normal(size=shape) / 4).astype(np.float32) for name, shape in shapes.items()}

    models: tuple[tuple[str, int, tuple[int, int, int], int, int | None], ...] = (
        ("model", 4, (SIDE, SIDE, 1), 2, 10), ("plain", 4, (SIDE, SIDE, 1), 2, None), ("colour", 3, (8, 8, 3), 1, None),
    )  # fmt: skip
    for name, channels, shape, pack, classes in models:
        unet = UNet2DConfig(
            in_channels=channels, out_channels=channels, down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",), block_out_channels=(4,), layers_per_block=1, norm_num_groups=2,
            attn_norm_num_groups=2, attention_head_dim=4, add_attention=False,
            num_class_embeds=classes and classes + 1,
        )  # fmt: skip
        config = released.diffusion_config(
            name, unet, schedules.VPCosine(), prediction="v", network_time="thousand", shape=shape,
            num_classes=classes, null_cond=classes, pack=pack,
        )  # fmt: skip
        store.save_weights(root / name, config, arrays(UNet2D, unet))
    guide = classifiers.GuideConfig(side=SIDE, widths=(4,), blocks=(1,))
    noisy = classifiers.NoisyGuideConfig(side=SIDE, widths=(4,), blocks=(1,))
    evaluator = classifiers.EvaluatorConfig(side=SIDE, width=4, depths=(1, 1), num_features=6)
    networks: tuple[tuple[str, Any, Any], ...] = (
        ("guide", classifiers.GuideNet, guide), ("noisy", classifiers.NoisyGuideNet, noisy),
        ("evaluator", classifiers.EvaluatorNet, evaluator),
        ("other", classifiers.EvaluatorNet, replace(evaluator, side=8)),
    )  # fmt: skip
    for name, cls, net in networks:
        head = {"name": name, "shape": [net.side, net.side, 1], "network": net.to_dict()}
        store.save_weights(root / name, {"architecture": f"classifiers.{cls.__name__}", **head}, arrays(cls, net))
    moments = {"mean": np.zeros(6), "covariance": np.eye(6), "count": np.array(100, np.int64)}
    store.save_arrays(root / "evaluator" / "moments.safetensors", moments)
    return root


@pytest.fixture(scope="session")
def tiny(weights) -> list[str]:
    """The options that make a sampling command tiny: 5 samples in 3 shards."""
    return [
        "--model", str(weights / "model"), "--guide", str(weights / "guide"),
        "--evaluator", str(weights / "evaluator"), "--steps", "2", "--classes", "0", "3", "trouser", "7", "9",
        "--per-class", "1", "--chunk", "2",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run."""
    from tfg_jax.cli.main import main

    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(["sample", *tiny, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Path:
    """A file with a task of the user's own, and code for the other options that take any."""
    file = tmp_path_factory.mktemp("own") / "mytask.py"
    file.write_text(OWN)
    return file


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys) -> Callable[[list[str], str], None]:
    """Checks that a command ends with code 2 and one sentence, which says so, and writes nothing."""
    from tfg_jax.cli.main import main

    def check(words: list[str], said: str) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(words) == 2
        heard = capsys.readouterr().err
        assert said in heard and "Traceback" not in heard and len(heard.strip().splitlines()) == 1, heard
        assert not list(tmp_path.iterdir())

    return check
