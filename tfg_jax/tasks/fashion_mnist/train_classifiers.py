"""The Fashion-MNIST classifiers: three guides, an evaluator and a noisy guide.

The guides and the noisy guide learn from one half of the training images, the evaluator from the other half.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import PyTree

from tfg_jax.analytic import Mixture, gaussian
from tfg_jax.data import fashion_mnist
from tfg_jax.models import classifiers
from tfg_jax.schedules import VPCosine
from tfg_jax.training.diffusion import random_flip, stratified_times
from tfg_jax.training.loop import shuffled
from tfg_jax.training.recipe import Hyper, Lessons, Recipe, table

FLIPPED = (0, 1, 2, 3, 4, 6)  # garments; shoes and bags have a side
MOVED = "mirrored garments, shifts up to 1 pixel"
NOISY_TIMES = (0.0, 0.2, 0.4, 0.6, 0.8)
HALF_SIZE = 30_000


class Variant(NamedTuple):
    """How one classifier is made."""

    module: Callable[..., Any]
    network: Callable[[], Any]
    use: str
    augmentation: str  # in words, for its card
    noise: Callable[[jax.Array], jax.Array] | None = None  # u uniform in [0, 1] -> its standard deviation
    estimates: float = 0.0  # share of the images that are seen as a denoiser estimates them
    half: str = "guide half"  # of the training images


def any_noise(u: jax.Array) -> jax.Array:
    """Up to 0.1 for one half of u in [0, 1], up to 1 for the other."""
    return jnp.where(u < 0.5, 0.2 * u, 2.0 * u - 1.0)


GUIDES = "Guides samplers towards a class of Fashion-MNIST, through denoised estimates."
VARIANTS = {
    "guide": Variant(
        classifiers.GuideNet, classifiers.GuideConfig, GUIDES,
        f"{MOVED}, noise of standard deviation up to 0.1, label smoothing 0.05", lambda u: 0.1 * u,
    ),
    # Smoothed guidance asks about denoised estimates with noise of standard deviation up to 1: this guide has seen
    # that.
    "guide-robust": Variant(
        classifiers.GuideNet, classifiers.GuideConfig, GUIDES,
        f"{MOVED}, noise of standard deviation up to 0.1 for half of the images and up to 1 for the others, "
        "label smoothing 0.05", any_noise,
    ),
    # At high noise denoised estimates are averages over what the image could be, which no noise makes of an image.
    "guide-estimates": Variant(
        classifiers.GuideNet, classifiers.GuideConfig, GUIDES,
        f"{MOVED}, noise as for fashion-mnist-guide-robust; but 40 % of the images as the best linear denoiser of the "
        "training images estimates them from VPCosine's x_t, t in [0.2, 0.99], half of these with noise of standard "
        "deviation sqrt(1 - abar_t); label smoothing 0.05",
        any_noise, estimates=0.4,
    ),
    "evaluator": Variant(
        classifiers.EvaluatorNet, classifiers.EvaluatorConfig,
        "Scores samples that another network guided: accuracy, and Fréchet distances of its features.",
        f"{MOVED}, label smoothing 0.05", half="evaluator half",
    ),
    "noisy": Variant(
        classifiers.NoisyGuideNet, classifiers.NoisyGuideConfig,
        "Classifier guidance of Fashion-MNIST samplers on any schedule, from the noisy sample itself.",
        f"{MOVED}; noise of VPCosine at t uniform in [0, 0.999]",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model(Hyper):
    """What the trained state depends on."""

    epochs: float = 6.0
    """Passes over the 30,000 images; the learning rate falls as a cosine over them."""
    batch: int = 128
    lr: Annotated[float, tyro.conf.arg(aliases=["--learning-rate"])] = 2e-3
    """Peak of the cosine schedule."""
    warmup: int = 100
    """Updates to the peak, at most a tenth of all."""
    ema: float = 0.998


@dataclasses.dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """A classifier of Fashion-MNIST, from half of the training images."""

    which: tyro.conf.Suppress[str] = "guide"
    model: Model = Model()
    log_every: int = 100

    licence: ClassVar[str] = "Apache-2.0 (weights), MIT (data)"
    counted: ClassVar[tuple[str, float]] = ("epochs", HALF_SIZE)

    @property
    def variant(self) -> Variant:
        """Which classifier."""
        return VARIANTS[self.which]

    @property
    def name(self) -> str:
        return self.which

    @property
    def architecture(self) -> str:
        return f"classifiers.{self.variant.module.__name__}"

    @property
    def source(self) -> str:
        return f"Fashion-MNIST training set, {self.variant.half} ({HALF_SIZE:,} images)"

    def module(self) -> nnx.Module:
        return self.variant.module(self.variant.network(), rngs=nnx.Rngs(self.model.seed))

    def settings(self) -> dict[str, Any]:
        model = self.model
        values = {"which": self.which, "epochs": model.epochs, "batch": model.batch, "learning_rate": model.lr}
        values |= {"seed": model.seed, "init": model.init or None, "net": self.variant.network().to_dict()}
        changed = {key: getattr(model, key) for key in ("warmup", "clip", "ema")}
        return values | {key: value for key, value in changed.items() if value != getattr(Model, key)}

    def updates(self) -> int:
        if not 0 < self.model.epochs < float("inf"):
            raise ValueError(f"epochs={self.model.epochs} must be a positive number")
        return max(1, round(self.model.epochs * (HALF_SIZE // self.model.batch)))

    def learning_rate(self) -> optax.Schedule:
        steps, peak = self.updates(), self.model.lr
        return optax.warmup_cosine_decay_schedule(0.0, peak, min(self.model.warmup, steps // 10), steps, 0.01 * peak)

    def optimizer(self) -> optax.GradientTransformation:
        decays = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # noqa: E731
        adam = optax.adamw(self.learning_rate(), weight_decay=0.05, mask=decays)
        return optax.chain(optax.clip_by_global_norm(self.model.clip), adam)

    def lessons(self, graphdef: Any) -> Lessons:
        images, labels = fashion_mnist.load("train", self.data)
        half = fashion_mnist.halves(labels)[self.variant.half == "evaluator half"]
        images, labels = images[half], labels[half]
        indices = shuffled(len(images), self.model.batch, self.model.seed)
        data = gaussian_of(images) if self.variant.estimates else None
        return Lessons(
            make_loss(self.variant, lambda p, *inputs: nnx.merge(graphdef, p)(*inputs), data),
            lambda step: {"image": images[indices(step)], "label": labels[indices(step)]},
            lambda params: accuracies(
                lambda *inputs: nnx.merge(graphdef, params)(*inputs).argmax(-1), self.which == "noisy",
                *fashion_mnist.load("test", self.data),
            ),
        )  # fmt: skip

    def config(self, name: str) -> dict[str, Any]:
        head = {"architecture": self.architecture, "name": name, "shape": list(fashion_mnist.SHAPE)}
        return {**head, "network": self.variant.network().to_dict()}

    def more_arrays(self, graphdef: Any, params: PyTree) -> dict[str, dict[str, np.ndarray]]:
        if self.which != "evaluator":
            return {}
        features = jax.jit(lambda x: nnx.merge(graphdef, params).features(x))
        rows = in_batches(features, fashion_mnist.load("test", self.data)[0]).astype(np.float64)
        count = np.array(len(rows), np.int64)
        return {"moments": {"mean": rows.mean(0), "covariance": np.cov(rows, rowvar=False), "count": count}}

    def card(self, name: str, numbers: dict[str, Any]) -> tuple[str, dict[str, str], str]:
        use = f"""{self.variant.use} Never score samples with the network that guided them. Trained on 28x28 grey
images of clothing alone: its probabilities mean nothing on other images."""
        facts = {
            "Architecture": f"`tfg_jax.models.{self.architecture}`, {numbers['parameters']:,} parameters, no BatchNorm",
            "Augmentation": self.variant.augmentation,
            "Released weights": "exponential moving average of the training run",
            "Test accuracy (10,000 test images)": f"{numbers['test_accuracy']:.2%}",
        }
        kind = "time" if self.which == "noisy" else "class"
        rows = [(row, f"{value:.2%}") for row, value in numbers[f"test_accuracy_by_{kind}"].items()]
        more = table((kind, "test accuracy"), rows)
        if self.which == "evaluator":
            more += "\n\n`moments.safetensors` holds mean, covariance (float64) and count of the test images' features."
        return use, facts, more


def gaussian_of(images: np.ndarray) -> Mixture:
    """The Gaussian with mean and covariance of images (n, H, W, C): its denoiser is the best linear one for them."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return gaussian(flat.mean(0), np.cov(flat, rowvar=False))


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


def make_loss(variant: Variant, apply: Callable[..., jax.Array], data: Mixture | None) -> Callable:
    """Cross-entropy of `apply(params, images[, log-SNR])` on augmented images, for `loop.fit`."""
    noisy = variant.module is classifiers.NoisyGuideNet

    def loss_fn(params: Any, batch: dict[str, Any], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        flip_key, shift_key, level_key, noise_key = jax.random.split(key, 4)
        x, y = jnp.asarray(batch["image"]), jnp.asarray(batch["label"])
        x = shift(shift_key, random_flip(flip_key, x, jnp.isin(y, jnp.array(FLIPPED))))
        rest, denoised = (), x
        if variant.noise is not None:
            u = jax.random.uniform(level_key, (len(x), 1, 1, 1))
            x += variant.noise(u) * jax.random.normal(noise_key, x.shape)
        if data is not None:
            estimate_key, chosen_key = jax.random.split(jax.random.fold_in(noise_key, 1))
            chosen = jax.random.bernoulli(chosen_key, variant.estimates, (len(x), 1, 1, 1))
            x = jnp.where(chosen, estimated(estimate_key, denoised, data), x)
        if noisy:
            x, *rest = corrupt(noise_key, x, stratified_times(level_key, len(x), 0.0, VPCosine().t_start))
        logits = apply(params, x, *rest)
        targets = optax.smooth_labels(jax.nn.one_hot(y, logits.shape[-1]), 0.0 if noisy else 0.05)
        accuracy = (logits.argmax(-1) == y).mean()
        return optax.softmax_cross_entropy(logits, targets).mean(), {"accuracy": accuracy}

    return loss_fn


def in_batches(fn: Callable[..., jax.Array], *arrays: np.ndarray, size: int = 500) -> np.ndarray:
    """A compiled function of rows over all of them."""
    return np.concatenate([fn(*(a[i : i + size] for a in arrays)) for i in range(0, len(arrays[0]), size)])


def accuracies(predict: Callable[..., Any], noisy: bool, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Test accuracy: over all, and by class (clean networks) or by time (noisy network)."""
    predict = jax.jit(predict)
    if not noisy:
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


RECIPES = {
    which: ClassifierRecipe(
        which=which,
        folder=Path("runs") / f"fashion-mnist-{which}",
        export=Path("checkpoints") / f"fashion-mnist-{which}",
    )
    for which in VARIANTS
}
