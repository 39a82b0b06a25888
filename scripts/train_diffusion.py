"""Train the class-conditional Fashion-MNIST diffusion model, resumable by the same command.

    python scripts/train_diffusion.py --minutes 60                # train, or go on training, for an hour
    python scripts/train_diffusion.py --decay-from M --steps N    # cool down: learning rate to 0 from update M to N
    python scripts/train_diffusion.py --decay-from M --steps N --export checkpoints/fashion-mnist
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import denoiser as denoisers
from tfg_jax import schedules
from tfg_jax.data import fashion_mnist
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.training.diffusion import diffusion_loss
from tfg_jax.training.loop import fit, shuffled
from tfg_jax.weights import store

SCHEDULE, PREDICTION = schedules.VPCosine(), "v"


@dataclasses.dataclass(frozen=True)
class Model:
    """What the trained state depends on: a folder accepts only one value of it."""

    channels: tuple[int, ...] = (32, 64)  # widths at 14x14, 7x7, ... after packing
    layers: int = 1  # residual blocks a level
    pack: int = 2  # pixels of a k x k patch become channels
    groups: int = 8  # of group normalisation
    head_dim: int = 32  # of the attention in the middle
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 500  # updates from learning rate 0 to lr
    clip: float = 1.0  # global norm of the gradient
    ema: float = 0.9995
    p_uncond: float = 0.15
    flip_classes: tuple[int, ...] = (0, 1, 2, 3, 4, 6)  # garments; shoes and bags have a side
    seed: int = 0

    def unet(self) -> UNet2DConfig:
        """The network's configuration."""
        levels, channels = len(self.channels), self.pack**2
        return UNet2DConfig(
            sample_size=28 // self.pack,
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
class Run:
    """How long and where; may change from one call to the next."""

    model: Model = Model()
    folder: Path = Path("runs/diffusion")
    data: Path | None = None  # folder of the four original files; default as in tfg_jax.data.fashion_mnist
    steps: int = 10_000_000  # total updates since the first start
    minutes: float | None = None  # budget of this call
    decay_from: int | None = None  # the learning rate falls linearly to 0 from this update to `steps`
    log_every: int = 50
    sample_every: int = 1000
    save_seconds: float = 120.0
    export: Path | None = None  # after training: write the averaged weights as a released model into this folder
    overwrite: bool = False


def main(run: Run) -> None:
    """Train, draw samples on the way, and export if asked."""
    model = run.model
    images, labels = fashion_mnist.load("train", run.data)
    indices = shuffled(len(images), model.batch, model.seed)

    def batches(step: int) -> dict[str, np.ndarray]:
        chosen = indices(step)
        return {"image": images[chosen], "label": labels[chosen]}

    apply, params = network(model)
    print(f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters on {jax.devices()[0]}", flush=True)
    loss = diffusion_loss(
        apply,
        SCHEDULE,
        PREDICTION,
        num_classes=fashion_mnist.NUM_CLASSES,
        p_uncond=model.p_uncond,
        flip_classes=model.flip_classes,
    )
    rate = learning_rate(model, run)
    optimiser = optax.chain(optax.clip_by_global_norm(model.clip), optax.adam(rate, b2=0.99))
    state = fit(
        loss,
        params,
        optimiser,
        batches,
        steps=run.steps,
        folder=run.folder,
        key=jax.random.key(model.seed),
        config=dataclasses.asdict(model),
        ema_decay=model.ema,
        save_seconds=run.save_seconds,
        max_seconds=None if run.minutes is None else 60.0 * run.minutes,
        log_every=run.log_every,
        sample_every=run.sample_every,
        on_sample=lambda step, ema, folder: draw_grid(apply, ema, folder / f"samples_{step:07d}.png"),
        overwrite=run.overwrite,
    )
    if run.export is not None:
        export(model, state.ema, int(state.step), run.export)


def learning_rate(model: Model, run: Run) -> optax.Schedule:
    """Warm-up, then constant, then (only if asked) linearly to 0: a function of the update alone."""
    if run.decay_from is not None and not 0 <= run.decay_from < run.steps:
        raise ValueError(f"decay_from={run.decay_from} must lie in [0, steps={run.steps}): give the final --steps too")

    def rate(step: ArrayLike) -> Array:
        value = model.lr * jnp.minimum(1.0, (jnp.asarray(step) + 1) / model.warmup)
        if run.decay_from is not None:
            value *= jnp.clip((run.steps - jnp.asarray(step)) / (run.steps - run.decay_from), 0.0, 1.0)
        return value

    return rate


def network(model: Model) -> tuple[Callable[..., Array], PyTree]:
    """Batched `apply(params, x, t_network, label)` on unpacked images, and fresh parameters."""
    graphdef, state = nnx.split(UNet2D(model.unet(), rngs=nnx.Rngs(model.seed)))

    def apply(params: PyTree, x: Float[Array, "b 28 28 1"], t: Array, label: Array) -> Float[Array, "b 28 28 1"]:
        return unpack(nnx.merge(graphdef, params)(pack(x, model.pack), t, label), model.pack)

    return apply, nnx.to_pure_dict(state)


def draw_grid(apply: Callable[..., Array], params: PyTree, path: Path, rows: int = 6, steps: int = 25) -> None:
    """Write a grid of class-conditional samples, one column a class, by deterministic DDIM (arXiv 2010.02502)."""
    from PIL import Image

    label = jnp.tile(jnp.arange(fashion_mnist.NUM_CLASSES), rows)
    x = jax.random.normal(jax.random.key(7), (len(label), *fashion_mnist.SHAPE))
    x = np.asarray(_ddim(apply, params, x, label, jnp.linspace(SCHEDULE.t_start, 0.0, steps + 1)))
    grid = x.reshape(rows, -1, 28, 28).swapaxes(1, 2).reshape(rows * 28, -1)
    pixels = np.clip(127.5 * (grid + 1.0), 0, 255).round().astype(np.uint8)
    Image.fromarray(pixels.repeat(3, axis=0).repeat(3, axis=1)).save(path)


def _ddim(apply: Callable[..., Array], params: PyTree, x: Array, label: Array, times: Array) -> Array:
    model = denoisers.from_fn(
        lambda params, x, t, label: apply(params, x[None], t[None], label[None])[0],
        params,
        SCHEDULE,
        prediction=PREDICTION,
        shape=fashion_mnist.SHAPE,
        network_time=denoisers.thousand_time,
    )

    @jax.jit
    def step(x: Array, t: Array, t_next: Array) -> Array:
        clean = jax.vmap(model, (0, None, 0))(x, t, label)
        level = SCHEDULE.level(t_next)
        return level.alpha * clean.x0.clip(-1.0, 1.0) + level.sigma * clean.eps

    for t, t_next in zip(times[:-1], times[1:], strict=True):
        x = step(x, t, t_next)
    return x


def export(model: Model, params: PyTree, step: int, folder: Path) -> None:
    """Write the averaged weights and everything needed to use them."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    arrays = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    config: dict[str, Any] = {
        "kind": "diffusion",
        "unet": model.unet().to_dict(),
        "pack": model.pack,
        "schedule": {"kind": "VPCosine", "offset": SCHEDULE.offset, "t_start": SCHEDULE.t_start},
        "prediction": PREDICTION,
        "network_time": "thousand",
        "shape": list(fashion_mnist.SHAPE),
        "num_classes": fashion_mnist.NUM_CLASSES,
        "null_class": fashion_mnist.NUM_CLASSES,
        "p_uncond": model.p_uncond,
        "training": {**dataclasses.asdict(model), "updates": step, "images": step * model.batch},
    }
    store.save_weights(folder, config, arrays)


if __name__ == "__main__":
    main(tyro.cli(Run))
