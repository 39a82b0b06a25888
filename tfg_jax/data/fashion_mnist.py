"""Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747; MIT licence, Zalando Research): 28x28 grey images, 10
classes.

The training set is cut into two class-balanced halves, so that the classifier that guides a sampler and the classifier
that scores its samples never share a training image.
"""

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.data.pixels import to_float as to_float
from tfg_jax.kinds import public

CLASS_NAMES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
NUM_CLASSES = 10
SHAPE = (28, 28, 1)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
ENVIRONMENT_VARIABLE = "TFG_JAX_DATA"


class _IdxFile(NamedTuple):
    """What one idx file must be; the hash is of the unpacked bytes: mirrors compress the same bytes differently."""

    name: str
    sha256: str
    dims: tuple[int, ...]

    @property
    def header(self) -> bytes:
        # idx: two zero bytes, type 0x08 (unsigned byte), number of dimensions, then each dimension big-endian.
        return bytes((0, 0, 8, len(self.dims))) + b"".join(d.to_bytes(4, "big") for d in self.dims)


def _files(split: str, count: int, images: str, labels: str) -> tuple[_IdxFile, _IdxFile]:
    """Both files of a split, by their hashes."""
    return (
        _IdxFile(f"{split}-images-idx3-ubyte.gz", images, (count, 28, 28)),
        _IdxFile(f"{split}-labels-idx1-ubyte.gz", labels, (count,)),
    )


_FILES = {
    "train": _files(
        "train", 60000, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "test": _files(
        "t10k", 10000, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}  # fmt: skip


@public
def find_folder(path: str | os.PathLike | None = None) -> Path:
    """Folder that holds the four files: `path`, else `$TFG_JAX_DATA/fashion-mnist`, else the Debian package's folder.

    Raises FileNotFoundError if the chosen place does not hold the four files.
    """
    if path is not None:
        candidates = [Path(path)]
    else:
        root = os.environ.get(ENVIRONMENT_VARIABLE)
        candidates = ([Path(root) / "fashion-mnist"] if root else []) + [DEBIAN_FOLDER]
    for folder in candidates:
        if all((folder / file.name).is_file() for files in _FILES.values() for file in files):
            return folder
    tried = ", ".join(str(c) for c in candidates)
    raise FileNotFoundError(
        f"Fashion-MNIST not found in {tried}: install the Debian package dataset-fashion-mnist, or put the four"
        " original *-ubyte.gz files in a folder and pass it as path= (or name it fashion-mnist and set"
        f" {ENVIRONMENT_VARIABLE} to its parent)."
    )


@public
def load(
    split: str, path: str | os.PathLike | None = None
) -> tuple[Float[np.ndarray, "n 28 28 1"], Int[np.ndarray, " n"]]:
    """Images in [-1, 1] (float32, channels last) and labels 0..9 (int32) of one split, checked against known hashes.

    `split`: "train" (60,000 images) or "test" (10,000). `path`: folder of the four files, see `find_folder`.
    Raises FileNotFoundError (no data) and ValueError (unknown split; damaged file).
    """
    if split not in _FILES:
        raise ValueError(f'split must be "train" or "test", got {split!r}.')
    folder = find_folder(path)
    images, labels = (_read(folder, file) for file in _FILES[split])
    return to_float(images[..., None]), labels.astype(np.int32)


@public
def halves(labels: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Class-balanced, deterministic split of the training set: indices (guide half, evaluator half), each sorted.

    Within each class, in file order, images go alternately to the guide half (first) and the evaluator half (second).
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (n,), got {labels.shape}.")
    by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    guide, evaluator = ([indices[k::2] for indices in by_class] for k in (0, 1))
    return np.sort(np.concatenate(guide)), np.sort(np.concatenate(evaluator))


def _read(folder: Path, file: _IdxFile) -> np.ndarray:
    header, size = file.header, int(np.prod(file.dims))
    try:
        with gzip.open(folder / file.name, "rb") as stream:
            raw = stream.read(len(header) + size + 1)  # the cap: a decompression bomb stops one byte past the true size
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{folder / file.name} is not a readable gzip file ({error}); fetch it again.") from None
    if raw[: len(header)] != header:
        raise ValueError(f"{folder / file.name} is not an idx file of unsigned bytes {file.dims}; fetch it again.")
    if len(raw) != len(header) + size:
        raise ValueError(f"{folder / file.name} does not unpack to {len(header) + size} bytes; fetch it again.")
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise ValueError(f"{folder / file.name} has another sha256 than Fashion-MNIST's; fetch it again.")
    return np.frombuffer(raw, np.uint8, offset=len(header)).reshape(file.dims)
