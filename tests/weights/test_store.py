"""Weights on disk: a round trip is exact, and every damaged or foreign file is refused with a reason."""

import hashlib
import json
import struct
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tfg_jax.weights import store

ARRAYS = {"a.kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, np.int64)}
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write_raw(path, header, body=b"\0" * 8):
    """A safetensors file with any header, well formed or not."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)
    return path


@pytest.fixture
def folder(tmp_path):
    store.save_weights(tmp_path / "w", {"type": "test", "sizes": [1, 2]}, ARRAYS)
    return tmp_path / "w"


def test_round_trip_is_exact_in_every_dtype(tmp_path):
    arrays = {name: np.array([[0, 1, 2]]).astype(dtype) for name, dtype in store.DTYPES.items()}
    arrays["scalar"] = np.array(7, np.int64)
    arrays["empty"] = np.zeros((0, 3), np.float32)
    arrays["transposed"] = np.arange(6, dtype=np.float64).reshape(2, 3).T
    hashes = store.save_weights(tmp_path, {"type": "test"}, arrays)
    config, read = store.read_weights(tmp_path, hashes)
    assert config == {"type": "test"} and set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_the_reader_agrees_with_the_safetensors_library(tmp_path):
    from safetensors.numpy import load_file

    store.save_arrays(tmp_path / "m", ARRAYS)
    theirs, ours = load_file(tmp_path / "m"), store.load_arrays(tmp_path / "m")
    for name in ARRAYS:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_hashes_are_of_the_files(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        store.read_weights(folder)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        store.read_weights(folder / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_another_sha256_is_refused(folder, name):
    with pytest.raises(ValueError, match=f"{name} has sha256"):
        store.read_weights(folder, {name: "0" * 64})


def test_weights_of_another_config_are_refused(folder):
    """What a crash between the two writes, or a mixed copy, leaves behind."""
    store.save_arrays(folder / "model.safetensors", {"a": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="sha256"):
        store.read_weights(folder)


def test_one_flipped_bit_is_refused(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="sha256"):
        store.read_weights(folder)


def test_oversize_weights_are_refused(folder):
    size = (folder / "model.safetensors").stat().st_size
    store.read_weights(folder, max_bytes=size)
    with pytest.raises(ValueError, match="max_bytes"):
        store.read_weights(folder, max_bytes=size - 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "corrupted config"),
        (b"\xff\xfe", "corrupted config"),
        (b"[1]", "not a JSON object"),
        (b'{"format": 1, "format": 1}', "corrupted config"),
        (b"[" * 100_000, "corrupted config"),
        (b'{"type": "test"}', "format None"),
        (b'{"format": 3}', "format 3"),
        (b" " * (store.MAX_CONFIG_BYTES + 1), "limit"),
    ],
    ids=["cut", "not-utf8", "list", "twice", "deep", "no-version", "newer", "huge"],
)
def test_bad_configs_are_refused(folder, text, message):
    (folder / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        store.read_weights(folder)


@pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
def test_truncated_weights_are_refused(tmp_path, cut):
    store.save_arrays(tmp_path / "m", ARRAYS)
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:cut])
    with pytest.raises(ValueError, match="truncated|corrupted"):
        store.load_arrays(tmp_path / "m")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"not json", "corrupted header"),
        ([1], "not a JSON object"),
        ({"a": [1]}, "corrupted header"),
        ({"a": {**ENTRY, "more": 1}}, "corrupted header"),
        ({"a": {**ENTRY, "dtype": "OBJ"}}, "dtype 'OBJ'"),
        ({"a": {**ENTRY, "dtype": ["F32"]}}, "corrupted header|dtype"),
        ({"a": {**ENTRY, "shape": [-2]}}, "corrupted header"),
        ({"a": {**ENTRY, "shape": [2.0]}}, "corrupted header"),
        ({"a": {**ENTRY, "shape": [True, 2]}}, "corrupted header"),
        ({"a": {**ENTRY, "shape": [3]}}, "offsets"),
        ({"a": {**ENTRY, "shape": [2**40, 2**40]}}, "offsets"),
        ({"a": {**ENTRY, "data_offsets": [0, 4, 8]}}, "corrupted header"),
        ({"a": {**ENTRY, "data_offsets": [8, 0]}}, "offsets"),
        ({"a": {**ENTRY, "data_offsets": [4, 12]}}, "offsets"),
        ({"a": ENTRY, "b": ENTRY}, "offsets"),
        ({"a": {**ENTRY, "shape": [1], "data_offsets": [0, 4]}}, "behind"),
        ({"a": {**ENTRY, "shape": [4], "data_offsets": [0, 16]}}, "truncated"),
        (b'{"a": {}, "a": {}}', "corrupted header"),
    ],
)
def test_bad_headers_are_refused(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        store.load_arrays(write_raw(tmp_path / "m", header))


def test_a_header_over_the_limit_is_refused_unparsed(tmp_path):
    (tmp_path / "m").write_bytes(struct.pack("<Q", store.MAX_HEADER_BYTES + 1) + b"{")
    with pytest.raises(ValueError, match="over the limit"):
        store.load_arrays(tmp_path / "m")


def test_metadata_is_ignored(tmp_path):
    read = store.load_arrays(write_raw(tmp_path / "m", {"__metadata__": {"format": "pt"}, "a": ENTRY}))
    assert list(read) == ["a"] and read["a"].shape == (2,)


def test_weights_without_a_hash_say_so(tmp_path):
    folder = tmp_path / "w"
    store.save_weights(folder, {"type": "test"}, {"a": np.zeros(2, np.float32)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.read_weights(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["weights_sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="config.json records no weights_sha256: the weights are not checked"):
        store.read_weights(folder)


@pytest.mark.parametrize("config", [{"format": 1}, {"weights_sha256": ""}, {"a": object()}, {"a": float("nan")}])
def test_bad_configs_are_not_written(tmp_path, config):
    with pytest.raises(ValueError, match="config"):
        store.save_weights(tmp_path, config, ARRAYS)
    assert not (tmp_path / "config.json").exists()


def test_unknown_dtypes_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="'a' has dtype"):
        store.save_arrays(tmp_path / "m", {"a": np.array(["x"])})
    assert not list(tmp_path.iterdir())


class Small(nnx.Module):
    def __init__(self, width: int = 3, *, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(2, width, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.count = nnx.Variable(jnp.array(3, jnp.int32))

    def __call__(self, x):
        return self.layers[1](self.layers[0](x))


def small(seed=0, width=3):
    return Small(width, rngs=nnx.Rngs(seed))


def test_modules_come_back_from_flat_arrays():
    flat = store.nnx_to_flat(small(1))
    assert set(flat) == {"layers.0.kernel", "layers.0.bias", "count"}
    x, source = jnp.ones((1, 2)), small(1)
    source.eval()
    expected = source(x)
    for module in (small(2), nnx.eval_shape(lambda: small(2))):
        filled = store.fill_nnx(module, flat)
        assert not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(nnx.state(filled)))
        filled.eval()
        np.testing.assert_array_equal(filled(x), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda flat: flat.pop("count"), "lack 'count'"),
        (lambda flat: flat.update(extra=np.zeros(1)), "no place for 'extra'"),
        (lambda flat: flat.update({"layers.0.bias": np.zeros(4, np.float32)}), "'layers.0.bias' has shape"),
        (lambda flat: flat.update(count=np.array(1, np.float32)), "'count' has dtype"),
    ],
    ids=["missing", "unexpected", "shape", "dtype"],
)
def test_weights_that_do_not_fit_change_nothing(change, message):
    flat, module = store.nnx_to_flat(small(1)), small(2)
    change(flat)
    with pytest.raises(ValueError, match=message):
        store.fill_nnx(module, flat)
    for name, array in store.nnx_to_flat(small(2)).items():
        np.testing.assert_array_equal(store.nnx_to_flat(module)[name], array)
