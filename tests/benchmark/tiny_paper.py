"""What the suite of the TFG paper needs, with random weights: the same kinds of network, as small as they can be.

ADM and diffusers networks are `UNet2D` with the options of each; for what the library has no network of (Stable
Diffusion, CLIP, audio metrics) functions of the same interface stand.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

import tfg_jax as tfg
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.objectives import Classifier

SIDE = 32
MOLECULES = Path(__file__).parents[1] / "tasks" / "tiny_molecules.py"
TABLE = tfg.from_alphas_cumprod(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000)))


def unet(channels: int, out: int, **options):
    options = {"down_block_types": ("DownBlock2D",), **options}
    config = UNet2DConfig(
        in_channels=channels, out_channels=out, block_out_channels=(4,), layers_per_block=1, norm_num_groups=2,
        attention_head_dim=4, up_block_types=("UpBlock2D",), **options,
    )  # fmt: skip
    module = UNet2D(config, rngs=nnx.Rngs(0))
    module.eval()
    return tfg.from_nnx(module, TABLE, prediction="eps", shape=(SIDE, SIDE, channels), learned_variance=out > channels)


def adm(out: int):
    options = {"resnet_time_scale_shift": "scale_shift", "down_block_types": ("AttnDownBlock2D",)}
    return unet(3, out, **options, add_attention=False)


def logits(params, x):
    return x.mean((0, 1)) @ params


def classifier(name: str, classes: int, seed: int):
    weights = jnp.asarray(np.random.default_rng(seed).normal(size=(3, classes)), jnp.float32)
    return Classifier(weights, logits, classes, input_range=(0.0, 1.0), name=name)


def features(x0):
    """As of a decoded latent: four tokens of eight channels."""
    return jnp.tanh(x0.reshape(4, 8, -1).mean(-1) * jnp.arange(1.0, 9.0))


def pictures(channels: int):
    return np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, channels)).astype(np.float32)


def latents(gain, x, t, cond):
    return gain * jnp.tanh(x)


def lpips(x, truth):
    return {"lpips": np.abs(np.asarray(x) - truth).mean((1, 2, 3))}


def dtw(x, truth):
    return {"dtw": np.square(np.asarray(x) - truth).mean((1, 2, 3))}


GUIDES = {
    "cifar10-resnet18": 10,
    "vit-base": 500,
    "birds-efficientnet-b2": 500,
    "age-vit": 2,
    "gender-2": 2,
    "hair-color": 2,
}
EVALUATORS = {"cifar10-convnext": 10, "deit-small": 500, "bird-species": 500, "age-swin": 2, "gender": 2, "hair": 2}


def everything():
    """What stands for every need."""
    diffusers, imagenet = unet(3, 3), adm(6)
    networks = {
        "cifar10": adm(3), "imagenet": imagenet, "celebahq": diffusers, "cat": diffusers, "audio": unet(1, 1),
        "stable-diffusion": tfg.from_fn(latents, jnp.asarray(0.5), TABLE, prediction="eps", shape=(4, 4, 4)),
        "edm": f"{MOLECULES}:model", "edm-predictors": f"{MOLECULES}:guide", "edm-evaluators": f"{MOLECULES}:evaluator",
    }  # fmt: skip
    for seed, (role, counts) in enumerate({"guide": GUIDES, "evaluator": EVALUATORS}.items()):
        networks |= {name: classifier(role, count, seed) for name, count in counts.items()}
    return networks | {
        "cat-images": pictures(3), "audio-clips": pictures(1), "lpips-squeeze": lpips, "mfcc-dtw": dtw,
        "clip-b16": features, "wikiart": np.ones((4, 4, 8), np.float32) * np.arange(1, 5)[:, None, None],
    }  # fmt: skip
