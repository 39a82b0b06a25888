"""Fashion-MNIST: parsing refuses damaged files, the halves are disjoint and balanced, the shipped sample is whole."""

import gzip
import hashlib

import numpy as np
import pytest

from tfg_jax.data import fashion_mnist, sample

IMAGES = fashion_mnist._IdxFile("images.gz", "", (3, 28, 28))
LABELS = fashion_mnist._IdxFile("labels.gz", "", (3,))


def tiny(folder, monkeypatch):
    """A three-image data set on disk that the loader accepts as the genuine one; returns its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    known = []
    for file, values in ((IMAGES, pixels), (LABELS, np.array([4, 0, 9], np.uint8))):
        raw = file.header + values.tobytes()
        (folder / file.name).write_bytes(gzip.compress(raw))
        known.append(file._replace(sha256=hashlib.sha256(raw).hexdigest()))
    monkeypatch.setattr(fashion_mnist, "_FILES", {"test": tuple(known)})
    return pixels


def test_reads_idx_files(tmp_path, monkeypatch):
    pixels = tiny(tmp_path, monkeypatch)
    images, labels = fashion_mnist.load("test", tmp_path)
    assert images.dtype == np.float32 and images.shape == (3, 28, 28, 1) and labels.dtype == np.int32
    np.testing.assert_allclose(images[..., 0], pixels / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(labels, [4, 0, 9])
    np.testing.assert_array_equal(np.rint((images[..., 0] + 1) * 127.5), pixels)


def test_environment_variable_names_the_parent_folder(tmp_path, monkeypatch):
    (tmp_path / "fashion-mnist").mkdir()
    tiny(tmp_path / "fashion-mnist", monkeypatch)
    monkeypatch.setenv("TFG_JAX_DATA", str(tmp_path))
    assert fashion_mnist.find_folder() == tmp_path / "fashion-mnist"
    assert fashion_mnist.load("test")[0].shape == (3, 28, 28, 1)


def test_given_path_is_never_replaced_by_another(tmp_path, monkeypatch):
    (tmp_path / "fashion-mnist").mkdir()
    tiny(tmp_path / "fashion-mnist", monkeypatch)
    monkeypatch.setenv("TFG_JAX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        fashion_mnist.load("test", tmp_path / "elsewhere")


def rewrite(change):
    def damage(path):
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "gzip"),
        (lambda path: path.write_bytes(b"not gzip"), "gzip"),
        (rewrite(lambda raw: b"\0\0\x0d" + raw[3:]), "idx"),
        (rewrite(lambda raw: raw[:4] + (4).to_bytes(4, "big") + raw[8:]), "idx"),
        (rewrite(lambda raw: raw[:-1]), "unpack"),
        (rewrite(lambda raw: raw + b"\0" * 1000), "unpack"),
        (rewrite(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])), "sha256"),
    ],
    ids=["truncated", "not-gzip", "type", "count", "short", "long", "one-bit"],
)
def test_damaged_files_are_refused(tmp_path, monkeypatch, damage, message):
    tiny(tmp_path, monkeypatch)
    damage(tmp_path / IMAGES.name)
    with pytest.raises(ValueError, match=message):
        fashion_mnist.load("test", tmp_path)


def test_unknown_split():
    with pytest.raises(ValueError, match="split"):
        fashion_mnist.load("valid")


def test_halves_are_disjoint_balanced_and_complete():
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10, dtype=np.int32), 60))
    guide, evaluator = fashion_mnist.halves(labels)
    np.testing.assert_array_equal(np.sort(np.concatenate([guide, evaluator])), np.arange(600))
    for half in (guide, evaluator):
        np.testing.assert_array_equal(np.bincount(labels[half]), np.full(10, 30))
        assert (np.diff(half) > 0).all()
    again = fashion_mnist.halves(labels)
    np.testing.assert_array_equal(again[0], guide)


def test_shipped_sample():
    images, labels = sample.load_sample()
    assert images.shape == (100, 28, 28, 1) and images.dtype == np.float32
    assert images.min() == -1 and images.max() == 1
    np.testing.assert_array_equal(labels, np.repeat(np.arange(10), 10))
    assert hashlib.sha256(np.rint((images + 1) * 127.5).astype(np.uint8).tobytes()).hexdigest() == PIXELS


PIXELS = "e2d60c6cfd95a6d523b2b5ba416ac3ca2ba9d79cb03f64444df0e8182ad97b2d"
