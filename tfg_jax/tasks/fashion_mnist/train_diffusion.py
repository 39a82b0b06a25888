"""The class-conditional diffusion model of Fashion-MNIST.

    tfg-jax train diffusion --minutes 60                       # train, or go on training, for an hour
    tfg-jax train diffusion --decay-from M --steps N           # cool down: learning rate to 0 from update M to N
    tfg-jax train diffusion --minutes 0 --export runs/mine     # release what is there

After a cool-down, `--minutes 0` (or the same command again) keeps the cooled weights; more updates would undo it.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from tfg_jax import constructors, denoiser, schedules
from tfg_jax.data import fashion_mnist
from tfg_jax.denoiser import Denoiser
from tfg_jax.lookahead import Clip
from tfg_jax.models.family import OneSample
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.sample import sample
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.training.diffusion import diffusion_loss
from tfg_jax.training.loop import shuffled
from tfg_jax.training.recipe import Hyper, Lessons, OpenEnded, released_params
from tfg_jax.weights.released import diffusion_config

SCHEDULE = schedules.VPCosine()
OPTIONS: dict[str, Any] = {
    "prediction": "v", "network_time": denoiser.thousand_time, "shape": fashion_mnist.SHAPE,
    "num_classes": fashion_mnist.NUM_CLASSES, "null_cond": fashion_mnist.NUM_CLASSES,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model(Hyper):
    """What the trained state depends on."""

    channels: tuple[int, ...] = (32, 64)
    """Widths at 14x14, 7x7, ... after packing."""
    layers: int = 1
    """Residual blocks a level."""
    pack: int = 2
    """Pixels of a k x k patch become channels."""
    groups: int = 8
    """Of group normalization."""
    head_dim: int = 32
    """Of the attention in the middle."""
    p_uncond: float = 0.15
    """Share of labels that are dropped."""
    flip_classes: tuple[int, ...] = (0, 1, 2, 3, 4, 6)
    """Classes that are mirrored: garments; shoes and bags have a side."""
    teacher: str = ""
    """Released model of this architecture that gives the targets of dropped labels."""

    def unet(self) -> UNet2DConfig:
        """The network's configuration."""
        levels, channels = len(self.channels), self.pack**2
        return UNet2DConfig(
            sample_size=fashion_mnist.SHAPE[0] // self.pack,
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            block_out_channels=self.channels,
            layers_per_block=self.layers,
            norm_num_groups=self.groups,
            attn_norm_num_groups=self.groups,
            attention_head_dim=self.head_dim,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=fashion_mnist.NUM_CLASSES + 1,  # the last is "no class"
        )


@dataclasses.dataclass(frozen=True)
class Diffusion(OpenEnded):
    """A class-conditional diffusion model of Fashion-MNIST, one of whose classes is "no class"."""

    model: Model = Model()

    name: ClassVar[str] = "diffusion"
    architecture: ClassVar[str] = "unet2d.UNet2D"
    licence: ClassVar[str] = "Apache-2.0 (weights), MIT (data)"
    source: ClassVar[str] = "Fashion-MNIST training set (60,000 images)"
    counted: ClassVar[tuple[str, float]] = ("epochs", 60_000)

    def module(self) -> nnx.Module:
        return UNet2D(self.model.unet(), rngs=nnx.Rngs(self.model.seed))

    def lessons(self, graphdef: Any) -> Lessons:
        model = self.model
        images, labels = fashion_mnist.load("train", self.data)
        indices = shuffled(len(images), model.batch, model.seed)

        def batches(step: int) -> dict[str, np.ndarray]:
            chosen = indices(step)
            return {"image": images[chosen], "label": labels[chosen]}

        def apply(params: PyTree, x: Float[Array, "b 28 28 1"], t: Array, label: Array) -> Float[Array, "b 28 28 1"]:
            return unpack(nnx.merge(graphdef, params)(pack(x, model.pack), t, label), model.pack)

        options: dict[str, Any] = {
            "num_classes": fashion_mnist.NUM_CLASSES,
            "p_uncond": model.p_uncond,
            "flip_classes": model.flip_classes,
        }
        loss = data_loss = diffusion_loss(apply, SCHEDULE, "v", **options)
        if model.teacher:
            fresh = nnx.to_pure_dict(nnx.split(nnx.eval_shape(self.module))[1])
            teacher = functools.partial(apply, released_params(fresh, model.teacher, "teacher"))
            loss = diffusion_loss(apply, SCHEDULE, "v", teacher=teacher, **options)

        def measure(params: PyTree) -> dict[str, float]:
            jitted = jax.jit(lambda params, batch, key: data_loss(params, batch, key)[0])
            x, y = fashion_mnist.load("test", self.data)
            rows = np.arange(len(x)).reshape(-1, 100)
            losses = [
                jitted(params, {"image": x[row], "label": y[row]}, jax.random.key(i)) for i, row in enumerate(rows)
            ]
            return {"test_loss": round(float(np.mean(losses)), 5)}

        def preview(step: int, params: PyTree, folder: Path) -> None:
            network = OneSample(graphdef, pack=model.pack)
            draw_grid(constructors.from_fn(network, params, SCHEDULE, **OPTIONS), folder / f"samples_{step:07d}.png")

        return Lessons(loss, batches, measure, preview)

    def config(self, name: str) -> dict[str, Any]:
        options: dict[str, Any] = OPTIONS | {"network_time": "thousand", "pack": self.model.pack}
        return diffusion_config(name, self.model.unet(), SCHEDULE, **options) | {"p_uncond": self.model.p_uncond}

    def card(self, name: str, numbers: dict[str, Any]) -> tuple[str, dict[str, str], str]:
        model = self.model
        stages = " (in the last of the stages below)" if model.init else ""
        use = f"""Class-conditional diffusion model of Fashion-MNIST, 28x28 grey images in [-1, 1]; a small model for
experiments with guidance, not for pictures of clothes. Class {fashion_mnist.NUM_CLASSES} stands for "no class"."""
        facts = {
            "Architecture": f"`tfg_jax.models.unet2d.UNet2D` on {model.pack}x{model.pack} pixels packed into channels, "
            f"widths {model.channels}, {numbers['parameters']:,} parameters",
            "Path and prediction": "cosine (variance preserving), v-prediction, network time 1000 t",
            "Augmentation": f"flipped left-right: classes {model.flip_classes}",
            "Training": f"{numbers['updates']:,} updates of {model.batch} images ({numbers['epochs']} epochs), Adam; "
            f"labels dropped with probability {model.p_uncond}{stages}; released are the averaged weights (decay "
            f"{model.ema})",
            "Denoising loss on the 10,000 test images": str(numbers["test_loss"]),
        }
        if model.teacher:
            facts["Targets where the label is dropped"] = f"what {Path(model.teacher).name} predicts with the label"
        return use, facts, ""


def draw_grid(model: Denoiser, path: Path, rows: int = 6, steps: int = 25) -> None:
    """Write a grid of class-conditional samples, one column a class, by deterministic DDIM (arXiv 2010.02502)."""
    from PIL import Image

    label = jnp.tile(jnp.arange(fashion_mnist.NUM_CLASSES), rows)
    sampler = DDIM(steps=steps, eta=0.0)
    x = sample(jax.random.key(7), model, num_samples=len(label), cond=label, sampler=sampler, clip=Clip(-1.0, 1.0)).x
    grid = np.asarray(x).reshape(rows, -1, *fashion_mnist.SHAPE[:2]).swapaxes(1, 2)
    pixels = np.clip(127.5 * (grid.reshape(rows * grid.shape[1], -1) + 1.0), 0, 255).round().astype(np.uint8)
    Image.fromarray(pixels.repeat(3, axis=0).repeat(3, axis=1)).save(path)


RECIPES = {"diffusion": Diffusion()}
