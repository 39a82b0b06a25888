"""Adversarial texture: guidance that fools a classifier often leaves fine patterns which real images do not have."""

import numpy as np
from jaxtyping import Float

from tfg_jax.kinds import public
from tfg_jax.metrics.intervals import Estimate, bootstrap
from tfg_jax.rows import AnyArray, as_rows, by_blocks


@public
def high_frequency_power(images: Float[AnyArray, "n H W C"]) -> Float[np.ndarray, "n"]:
    """Per image: mean squared pixel value carried by spatial frequencies above half Nyquist, |f| > 1/4 cycle per pixel.

    images: (n, H, W, C). By Parseval the powers of all frequencies add up to the mean of the squared pixels.
    """
    images = as_rows(images)
    if images.ndim != 4:
        raise ValueError(f"images must have shape (n, H, W, C), got {images.shape}.")
    _, height, width, channels = images.shape
    high = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) > 0.25

    def power(part: np.ndarray) -> np.ndarray:
        squares = np.abs(np.fft.fft2(np.asarray(part, np.float64), axes=(1, 2))) ** 2
        return squares[:, high].sum(axis=(1, 2)) / ((height * width) ** 2 * channels)

    return by_blocks(power, images)


@public
def high_frequency_ratio(
    images: Float[AnyArray, "n H W C"],
    reference: Float[AnyArray, "m H W C"],
    seed: int = 0,
    *,
    resamples: int = 200,
    level: float = 0.95,
) -> Estimate:
    """Mean high-frequency power of samples over that of real images: 1 as real, above 1 texture, below 1 blur.

    images: (n, H, W, C) finite samples. reference: (m, H, W, C) real images of the same kind, taken as exact.
    Raises ValueError if the reference has no high-frequency power.
    """
    real = float(high_frequency_power(reference).mean())
    if real <= 0:
        raise ValueError("reference must have some power above half Nyquist, got none; use real images.")
    return bootstrap(
        high_frequency_power(images) / real, lambda p: float(p.mean()), seed, resamples=resamples, level=level
    )
