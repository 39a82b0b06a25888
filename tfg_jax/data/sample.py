"""One hundred Fashion-MNIST test images shipped with the package: the first ten of each class, in file order."""

from importlib import resources

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.data.fashion_mnist import to_float
from tfg_jax.kinds import public

SAMPLE_FILE = "fashion_mnist_test_sample.npz"


@public
def load_sample() -> tuple[Float[np.ndarray, "100 28 28 1"], Int[np.ndarray, " 100"]]:
    """Images in [-1, 1] (float32) and labels 0..9 (int32), sorted by class; needs no data set on disk."""
    with resources.files("tfg_jax.data").joinpath(SAMPLE_FILE).open("rb") as stream:
        with np.load(stream, allow_pickle=False) as arrays:
            return to_float(arrays["images"]), arrays["labels"].astype(np.int32)
