"""Space to channels and back: the input and output transform of a denoiser that works on k x k pixels at once."""

from jaxtyping import Array, Shaped

from tfg_jax.kinds import public


@public
def pack(x: Shaped[Array, "*image"], k: int) -> Shaped[Array, "*packed"]:
    """Move every k x k patch into channels: y[i, j, (a k + b) C + c] = x[i k + a, j k + b, c].

    Args:
        x: one image (H, W, C); leading axes are allowed. H and W are multiples of k.
        k: patch side in pixels, at least 1 (1 returns x itself).
    Returns:
        (H / k, W / k, k * k * C). `unpack(pack(x, k), k)` is x, bit for bit.
    Raises:
        ValueError: if k < 1, x has fewer than three axes, or a side is no multiple of k.
    """
    *lead, h, w, c = _image_shape(x, k)
    if h % k or w % k:
        raise ValueError(f"k={k} does not divide the image sides {h} x {w}; pad the image or change k.")
    patches = x.reshape(*lead, h // k, k, w // k, k, c).swapaxes(-4, -3)
    return patches.reshape(*lead, h // k, w // k, k * k * c)


@public
def unpack(y: Shaped[Array, "*packed"], k: int) -> Shaped[Array, "*image"]:
    """Exact inverse of `pack`: (H, W, k * k * C) -> (H k, W k, C).

    Raises:
        ValueError: if k < 1, y has fewer than three axes, or its channels are no multiple of k * k.
    """
    *lead, h, w, c = _image_shape(y, k)
    if c % (k * k):
        raise ValueError(f"k={k} needs a multiple of {k * k} channels but there are {c}; use the k of `pack`.")
    patches = y.reshape(*lead, h, w, k, k, c // (k * k)).swapaxes(-4, -3)
    return patches.reshape(*lead, h * k, w * k, c // (k * k))


def _image_shape(x: Array, k: int) -> tuple[int, ...]:
    if k < 1:
        raise ValueError(f"k={k} must be at least 1.")
    if x.ndim < 3:
        raise ValueError(f"The image has shape {x.shape}; give (height, width, channels).")
    return x.shape
