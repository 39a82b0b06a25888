"""Trains and releases the Fashion-MNIST classifiers: three guides, an evaluator and a noisy guide (see `--help`).

The guides and the noisy guide learn from one half of the training images, the evaluator from the other half. A run can
be stopped and started again; at its end it measures test accuracy and writes weights, model card and manifest entry.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from tfg_jax.analytic import Mixture, gaussian
from tfg_jax.data import fashion_mnist
from tfg_jax.host import keep_freed_memory
from tfg_jax.models import classifiers
from tfg_jax.schedules import VPCosine
from tfg_jax.training.diffusion import random_flip, stratified_times
from tfg_jax.training.loop import fit, shuffled
from tfg_jax.weights import cards, manifest, store

LICENCE = "Apache-2.0 (weights), MIT (data)"
FLIPPED = (0, 1, 2, 3, 4, 6)  # garments; shoes and bags have a side
MOVED = "mirrored garments, shifts up to 1 pixel"


class Recipe(NamedTuple):
    """How one classifier is made."""

    module: Callable[..., Any]
    config: Callable[[], Any]
    half: str  # of the training images
    augmentation: str  # in words, for its card
    noise: Callable[[jax.Array], jax.Array] | None = None  # u uniform in [0, 1] -> its standard deviation
    estimates: float = 0.0  # share of the images that are seen as a denoiser estimates them
    kind: str = "classifier"


def gaussian_of(images: np.ndarray) -> Mixture:
    """The Gaussian with mean and covariance of images (n, H, W, C): its denoiser is the best linear one for them."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return gaussian(flat.mean(0), np.cov(flat, rowvar=False))


def any_noise(u: jax.Array) -> jax.Array:
    """Up to 0.1 for one half of u in [0, 1], up to 1 for the other."""
    return jnp.where(u < 0.5, 0.2 * u, 2.0 * u - 1.0)


RECIPES = {
    "guide": Recipe(
        classifiers.GuideNet, classifiers.GuideConfig, "guide half",
        f"{MOVED}, noise of standard deviation up to 0.1, label smoothing 0.05", lambda u: 0.1 * u,
    ),
    # Smoothed guidance asks about denoised estimates with noise of standard deviation up to 1: this guide has seen
    # that.
    "guide-robust": Recipe(
        classifiers.GuideNet, classifiers.GuideConfig, "guide half",
        f"{MOVED}, noise of standard deviation up to 0.1 for half of the images and up to 1 for the others, "
        "label smoothing 0.05", any_noise,
    ),
    # At high noise denoised estimates are averages over what the image could be, which no noise makes of an image.
    "guide-estimates": Recipe(
        classifiers.GuideNet, classifiers.GuideConfig, "guide half",
        f"{MOVED}, noise as for fashion-mnist-guide-robust; but 40 % of the images as the best linear denoiser of the "
        "training images estimates them from VPCosine's x_t, t in [0.2, 0.99], half of these with noise of standard "
        "deviation sqrt(1 - abar_t); label smoothing 0.05",
        any_noise, estimates=0.4,
    ),
    "evaluator": Recipe(
        classifiers.EvaluatorNet, classifiers.EvaluatorConfig, "evaluator half", f"{MOVED}, label smoothing 0.05"
    ),
    "noisy": Recipe(
        classifiers.NoisyGuideNet, classifiers.NoisyGuideConfig, "guide half",
        f"{MOVED}; noise of VPCosine at t uniform in [0, 0.999]", kind="noisy-classifier",
    ),
}  # fmt: skip
NOISY_TIMES = (0.0, 0.2, 0.4, 0.6, 0.8)


def shift(key: jax.Array, x: jax.Array, pixels: int = 1) -> jax.Array:
    """Each image moved by up to `pixels` in either direction, black moving in."""
    padded = jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), constant_values=-1.0)
    offset = jax.random.randint(key, (len(x), 2), 0, 2 * pixels + 1)
    return jax.vmap(lambda image, o: jax.lax.dynamic_slice(image, (o[0], o[1], 0), x.shape[1:]))(padded, offset)


def per_image(values: jax.Array) -> jax.Array:
    """(B,) numbers against images (B, H, W, C)."""
    return values[:, None, None, None]


def corrupt(key: jax.Array, x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(x_t / scale, log-SNR) at times t (B,)."""
    level = VPCosine().level(t)
    noisy = per_image(level.alpha) * x + per_image(level.sigma) * jax.random.normal(key, x.shape)
    return noisy / per_image(level.scale), level.log_snr


def estimated(key: jax.Array, x: jax.Array, data: Mixture) -> jax.Array:
    """Clipped estimates of images (B, H, W, C) from x_t, t in [0.2, 0.99]; half of them with the noise of smoothing."""
    time_key, noise_key, smoothing_key, half_key = jax.random.split(key, 4)
    level = VPCosine().level(stratified_times(time_key, len(x), 0.2, 0.99))
    noisy = per_image(level.alpha) * x + per_image(level.sigma) * jax.random.normal(noise_key, x.shape)
    denoised = jax.vmap(lambda x, level: data.denoised(x.ravel(), level).x0)(noisy, level).reshape(x.shape)
    width = jnp.where(jax.random.bernoulli(half_key, 0.5, (len(x),)), jnp.sqrt(1.0 - level.abar), 0.0)
    return jnp.clip(denoised, -1.0, 1.0) + per_image(width) * jax.random.normal(smoothing_key, x.shape)


def make_loss(which: str, apply: Callable[..., jax.Array], data: Mixture | None) -> Callable:
    recipe = RECIPES[which]
    smoothing = 0.0 if which == "noisy" else 0.05

    def loss_fn(params: Any, batch: dict[str, Any], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        flip_key, shift_key, level_key, noise_key = jax.random.split(key, 4)
        x, y = jnp.asarray(batch["image"]), jnp.asarray(batch["label"])
        x = shift(shift_key, random_flip(flip_key, x, jnp.isin(y, jnp.array(FLIPPED))))
        rest, denoised = (), x
        if recipe.noise is not None:
            u = jax.random.uniform(level_key, (len(x), 1, 1, 1))
            x += recipe.noise(u) * jax.random.normal(noise_key, x.shape)
        if data is not None:
            estimate_key, chosen_key = jax.random.split(jax.random.fold_in(noise_key, 1))
            chosen = jax.random.bernoulli(chosen_key, recipe.estimates, (len(x), 1, 1, 1))
            x = jnp.where(chosen, estimated(estimate_key, denoised, data), x)
        if which == "noisy":
            x, *rest = corrupt(noise_key, x, stratified_times(level_key, len(x), 0.0, VPCosine().t_start))
        logits = apply(params, x, *rest)
        targets = optax.smooth_labels(jax.nn.one_hot(y, logits.shape[-1]), smoothing)
        accuracy = (logits.argmax(-1) == y).mean()
        return optax.softmax_cross_entropy(logits, targets).mean(), {"accuracy": accuracy}

    return loss_fn


def make_optimizer(steps: int, peak: float) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, min(100, steps // 10), steps, 0.01 * peak)
    decay = optax.adamw(schedule, weight_decay=0.05, mask=lambda p: jax.tree.map(lambda a: a.ndim > 1, p))
    return optax.chain(optax.clip_by_global_norm(1.0), decay)


def in_batches(fn: Callable[..., jax.Array], *arrays: np.ndarray, size: int = 500) -> np.ndarray:
    return np.concatenate([fn(*(a[i : i + size] for a in arrays)) for i in range(0, len(arrays[0]), size)])


def measure(which: str, net: nnx.Module, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Test accuracy: over all, and by class (clean networks) or by time (noisy network)."""
    graphdef, params = nnx.split(net)
    predict = jax.jit(lambda *inputs: nnx.merge(graphdef, params)(*inputs).argmax(-1))  # type: ignore[operator]
    if which != "noisy":
        right = in_batches(predict, images) == labels
        by_class = {
            name: round(float(right[labels == c].mean()), 4) for c, name in enumerate(fashion_mnist.CLASS_NAMES)
        }
        return {"test_accuracy": round(float(right.mean()), 4), "test_accuracy_by_class": by_class}
    by_time = {}
    for i, t in enumerate(NOISY_TIMES):
        x, log_snr = jax.jit(corrupt)(jax.random.key(i), images, jnp.full(len(images), t))
        right = in_batches(predict, np.asarray(x), np.asarray(log_snr)) == labels
        by_time[f"t={t}"] = round(float(right.mean()), 4)
    return {"test_accuracy": by_time["t=0.0"], "test_accuracy_by_time": by_time}


def release(which: str, net: nnx.Module, command: str, test: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Write weights, moments (evaluator), model card and manifest entry."""
    recipe, name = RECIPES[which], f"fashion-mnist-{which}"
    network, kind = recipe.module.__name__, recipe.kind
    folder = manifest.checkpoints_dir() / name
    config = {"kind": kind, "name": name, "network": network, "shape": list(fashion_mnist.SHAPE)}
    arrays = store.nnx_to_flat(net)
    store.save_weights(folder, {**config, "net": net.config.to_dict()}, arrays)  # type: ignore[attr-defined]
    metrics = measure(which, net, *test) | {"parameters": sum(a.size for a in arrays.values())}
    if which == "evaluator":
        graphdef, params = nnx.split(net)
        features = jax.jit(lambda x: nnx.merge(graphdef, params).features(x))  # type: ignore[attr-defined]
        rows = in_batches(features, test[0]).astype(np.float64)
        moments = {
            "mean": rows.mean(0),
            "covariance": np.cov(rows, rowvar=False),
            "count": np.array(len(rows), np.int64),
        }
        store.save_arrays(folder / "moments.safetensors", moments)
    data = f"Fashion-MNIST training set, {recipe.half} (30,000 images)"
    card = cards.classifier_card(name, kind, network, data, recipe.augmentation, LICENCE, command, metrics)
    (folder / "README.md").write_text(card, encoding="utf-8")
    manifest.add_to_manifest(name, kind=kind, licence=LICENCE, data=data, command=command, metrics=metrics)
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("which", choices=list(RECIPES))
    parser.add_argument("--epochs", type=float, default=6.0, help="passes over the 30,000 images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="peak of the cosine schedule")
    parser.add_argument("--init", default=None, help="released weights to start from, of the same architecture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None, help="folder of the four *-ubyte.gz files")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder of training states")
    parser.add_argument("--overwrite", action="store_true", help="forget an earlier run of the same name")
    args = parser.parse_args()

    images, labels = fashion_mnist.load("train", args.data)
    guide_half, evaluator_half = fashion_mnist.halves(labels)
    half = evaluator_half if args.which == "evaluator" else guide_half
    images, labels = images[half], labels[half]
    recipe = RECIPES[args.which]
    net = recipe.module(recipe.config(), rngs=nnx.Rngs(args.seed))
    if args.init is not None:
        store.fill_nnx(net, store.read_weights(manifest.checkpoints_dir() / args.init)[1])
    graphdef, params = nnx.split(net)
    indices = shuffled(len(images), args.batch, args.seed)
    steps = max(1, round(args.epochs * (len(images) // args.batch)))
    settings = {
        k: v for k, v in vars(args).items() if k in ("which", "epochs", "batch", "learning_rate", "seed", "init")
    }
    data = gaussian_of(images) if recipe.estimates else None
    state = fit(
        make_loss(args.which, lambda p, *inputs: nnx.merge(graphdef, p)(*inputs), data),
        params,
        make_optimizer(steps, args.learning_rate),
        lambda step: {"image": images[indices(step)], "label": labels[indices(step)]},
        steps=steps,
        folder=args.output / f"fashion-mnist-{args.which}",
        key=jax.random.key(args.seed),
        config={**settings, "net": recipe.config().to_dict()},
        ema_decay=0.998,
        overwrite=args.overwrite,
    )
    nnx.update(net, state.ema)
    command = "python scripts/train_classifiers.py " + shlex.join(a for a in sys.argv[1:] if a != "--overwrite")
    metrics = release(args.which, net, command, fashion_mnist.load("test", args.data))
    print("\n".join(f"{key}: {value}" for key, value in metrics.items()))


if __name__ == "__main__":
    keep_freed_memory()
    main()
