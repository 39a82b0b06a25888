"""How well guides read denoised estimates: what guidance asks of a classifier, apart from any sampler."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tfg_jax import metrics
from tfg_jax.data import fashion_mnist
from tfg_jax.denoiser import Model
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier

LOG_SNRS = (-6.0, -4.0, -2.0, 0.0, 2.0)


def rows(
    model: Model, guides: Mapping[str, Classifier], noisy: NoisyClassifier, images: int = 1000
) -> list[dict[str, Any]]:
    """Loss in nats, and accuracy, of guides on the model's clipped estimates of real images, by log-SNR.

    The last row is a classifier of noisy images on what the estimates were made from.
    """
    real, labels = (array[:images] for array in fashion_mnist.load("test"))
    lines: dict[str, dict[str, Any]] = {name: {"guide": name} for name in (*guides, "noisy, on x_t")}
    for i, log_snr in enumerate(LOG_SNRS):
        t = model.schedule.t_of_log_snr(log_snr)
        level = model.schedule.level(t)
        eps = np.random.default_rng(i).standard_normal(real.shape).astype(np.float32)
        x = np.asarray(level.alpha * real + level.sigma * eps)
        estimate = jax.jit(jax.vmap(lambda x, t=t: jnp.clip(model(x, t).x0, -1.0, 1.0)))
        estimates = np.concatenate([estimate(x[k : k + 20]) for k in range(0, images, 20)])
        logits = {name: metrics.classify(guide, estimates) for name, guide in guides.items()}
        logits["noisy, on x_t"] = metrics.classify(lambda x, level=level: noisy(x, level), x)
        for name, values in logits.items():
            loss = float(optax.softmax_cross_entropy_with_integer_labels(values, labels).mean())
            lines[name][f"log-SNR {log_snr:g}"] = f"{loss:.2f} ({(values.argmax(-1) == labels).mean():.2f})"
    return list(lines.values())
