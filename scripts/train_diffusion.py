"""Train the class-conditional Fashion-MNIST diffusion model, resumable by the same command.

    python scripts/train_diffusion.py --minutes 60                # train, or go on training, for an hour
    python scripts/train_diffusion.py --decay-from M --steps N    # cool down: learning rate to 0 from update M to N
    python scripts/train_diffusion.py --minutes 0 --export checkpoints/fashion-mnist    # release what is there

After a cool-down, `--minutes 0` (or the same command again) keeps the cooled weights; more updates would undo it.
"""

import dataclasses
import functools
import shlex
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
from tfg_jax.host import keep_freed_memory
from tfg_jax.models.pack import pack, unpack
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig
from tfg_jax.training.diffusion import diffusion_loss
from tfg_jax.training.loop import LossFn, TrainState, fit, shuffled
from tfg_jax.weights import manifest, released, store

SCHEDULE, PREDICTION = schedules.VPCosine(), "v"
LICENCE = "Apache-2.0 (weights), MIT (data)"
DATA = "Fashion-MNIST training set (60,000 images)"


@dataclasses.dataclass(frozen=True)
class Model:
    """What the trained state depends on: a folder accepts only one value of it."""

    channels: tuple[int, ...] = (32, 64)  # widths at 14x14, 7x7, ... after packing
    layers: int = 1  # residual blocks a level
    pack: int = 2  # pixels of a k x k patch become channels
    groups: int = 8  # of group normalization
    head_dim: int = 32  # of the attention in the middle
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 500  # updates from learning rate 0 to lr
    clip: float = 1.0  # global norm of the gradient
    ema: float = 0.9995
    p_uncond: float = 0.15
    flip_classes: tuple[int, ...] = (0, 1, 2, 3, 4, 6)  # garments; shoes and bags have a side
    seed: int = 0
    init: str = ""  # folder of a released model of this architecture to go on from, its averaged weights; "" is fresh
    teacher: str = ""  # folder of a released model of this architecture that gives the targets of dropped labels

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
    steps: int = 12_000  # total updates since the first start
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
    if model.init:
        params = released_params(params, Path(model.init))
    print(f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters on {jax.devices()[0]}", flush=True)
    options = {
        "num_classes": fashion_mnist.NUM_CLASSES,
        "p_uncond": model.p_uncond,
        "flip_classes": model.flip_classes,
    }
    loss = data_loss = diffusion_loss(apply, SCHEDULE, PREDICTION, **options)
    if model.teacher:
        teacher = functools.partial(apply, released_params(params, Path(model.teacher), "teacher"))
        loss = diffusion_loss(apply, SCHEDULE, PREDICTION, teacher=teacher, **options)
    rate = learning_rate(model, run)
    optimizer = optax.chain(optax.clip_by_global_norm(model.clip), optax.adam(rate, b2=0.99))
    state = fit(
        loss,
        params,
        optimizer,
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
        export(run, data_loss, state, run.export)


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


def released_params(params: PyTree, folder: Path, name: str = "init") -> PyTree:
    """The weights of a released model in place of fresh ones of the same shapes."""
    arrays = store.read_weights(folder)[1]
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    shapes = {name: leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise ValueError(
            f"{name}={str(folder)!r} holds another architecture; give the model options it was trained with"
        )
    return jax.tree.unflatten(tree, [jnp.asarray(arrays[name]) for name in names])


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
        denoised = jax.vmap(model, (0, None, 0))(x, t, label)
        level = SCHEDULE.level(t_next)
        return level.alpha * denoised.x0.clip(-1.0, 1.0) + level.sigma * denoised.eps

    for t, t_next in zip(times[:-1], times[1:], strict=True):
        x = step(x, t, t_next)
    return x


def export(run: Run, loss: LossFn, state: TrainState, folder: Path) -> None:
    """Release the averaged weights: configuration, weights, model card and manifest entry."""
    model = run.model
    images, labels = fashion_mnist.load("test", run.data)
    leaves = jax.tree_util.tree_leaves_with_path(state.ema)
    arrays = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    config = released.diffusion_config(
        folder.name,
        model.unet(),
        SCHEDULE,
        prediction=PREDICTION,
        network_time="thousand",
        shape=fashion_mnist.SHAPE,
        num_classes=fashion_mnist.NUM_CLASSES,
        null_class=fashion_mnist.NUM_CLASSES,
        pack=model.pack,
    )
    store.save_weights(folder, {**config, "p_uncond": model.p_uncond}, arrays)

    jitted = jax.jit(lambda params, batch, key: loss(params, batch, key)[0])
    rows = np.arange(len(images)).reshape(-1, 100)
    losses = [
        jitted(state.ema, {"image": images[row], "label": labels[row]}, jax.random.key(i)) for i, row in enumerate(rows)
    ]
    before = manifest.load_manifest(Path(model.init).parent)[Path(model.init).name]["metrics"] if model.init else {}
    metrics = {
        "parameters": sum(array.size for array in arrays.values()),
        "updates": before.get("updates", 0) + int(state.step),
        "epochs": round(before.get("epochs", 0.0) + int(state.step) * model.batch / 60_000, 2),
        "test_loss": round(float(np.mean(losses)), 5),
    }
    command = straight_command(run, int(state.step))
    (folder / "README.md").write_text(card(folder.name, model, command, metrics), encoding="utf-8")
    manifest.add_to_manifest(
        folder.name,
        kind="diffusion",
        licence=LICENCE,
        data=DATA,
        command=command,
        metrics=metrics,
        folder=folder.parent,
    )


def straight_command(run: Run, step: int) -> str:
    """What gives the state of `step` in a single uninterrupted run, after the model it went on from if there is one."""
    flags: list[Any] = []
    for field in dataclasses.fields(Model):
        value = getattr(run.model, field.name)
        if value != field.default:
            flags += [f"--model.{field.name.replace('_', '-')}", *(value if isinstance(value, tuple) else (value,))]
    if run.decay_from is not None:
        flags += ["--decay-from", run.decay_from]
        step = run.steps  # the decay ends there
    command = shlex.join(map(str, ["python", "scripts/train_diffusion.py", *flags, "--steps", step]))
    if not run.model.init:
        return command
    first = manifest.load_manifest(Path(run.model.init).parent)[Path(run.model.init).name]["command"]
    where = shlex.join(["--folder", f"{run.model.init}-state", "--export", run.model.init])
    return f"{first} {where} && {command}"


def card(name: str, model: Model, command: str, metrics: dict[str, Any]) -> str:
    """Markdown of the model card; every number comes from the run."""
    teacher = Path(model.teacher).name
    taught = f"\n- Targets where the label is dropped: what {teacher} predicts with the label" if model.teacher else ""
    return f"""# {name}

Class-conditional diffusion model of Fashion-MNIST, 28x28 grey images in [-1, 1]; a small model for experiments with
guidance, not for pictures of clothes. Class {fashion_mnist.NUM_CLASSES} stands for "no class".

- Architecture: `tfg_jax.models.unet2d.UNet2D` on {model.pack}x{model.pack} pixels packed into channels, widths
  {model.channels}, {metrics["parameters"]:,} parameters
- Path and prediction: cosine (variance preserving), v-prediction, network time 1000 t
- Data: {DATA}; flipped left-right: classes {model.flip_classes}
- Licence: {LICENCE}
- Training: {metrics["updates"]:,} updates of {model.batch} images ({metrics["epochs"]} epochs), Adam; labels dropped
  with probability {model.p_uncond}{" (in the last of the stages below)" if model.init else ""}; released are the
  averaged weights (decay {model.ema}){taught}
- Command: `{command}`
- Denoising loss on the 10,000 test images: {metrics["test_loss"]}
"""


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
