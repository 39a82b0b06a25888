"""Grids, PNG files and atomic, strict JSON."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tfg_jax import report
from tfg_jax.files import to_builtins, write_bytes
from tfg_jax.metrics import Estimate


def test_pixels_map_the_range_and_repeat():
    image = np.array([[[-1.0], [0.0]], [[1.0], [7.0]]])
    found = report.to_pixels(image, scale=3)
    assert found.shape == (6, 6, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[::3, ::3, 0], [[0, 128], [255, 255]])
    np.testing.assert_array_equal(found[:3, :3], 0)


def test_a_broken_image_is_red_and_its_neighbours_are_not():
    images = np.zeros((2, 9, 9, 1), np.float32)
    images[1, 4, 4] = np.nan
    found = report.grid(images, columns=2, gap=0)
    np.testing.assert_array_equal(found[:, :9], 128)
    assert {tuple(p) for p in found[:, 9:].reshape(-1, 3)} == {(204, 0, 0), (255, 255, 255)}


def test_grid_places_every_image():
    images = np.linspace(-1, 1, 7)[:, None, None, None] * np.ones((7, 4, 5, 3))
    found = report.grid(images, columns=3, gap=1, scale=2)
    assert found.shape == (1 + 3 * 9, 1 + 3 * 11, 3)
    centres = found[5::9, 6::11, 0]
    np.testing.assert_array_equal(centres.ravel()[:7], np.rint((np.linspace(-1, 1, 7) + 1) * 127.5))
    np.testing.assert_array_equal(centres.ravel()[7:], 255)
    rows = np.stack([images[:3], images[3:6]])
    np.testing.assert_array_equal(report.grid(rows, gap=1, scale=2), found[:19])


def test_labels_and_captions_add_ink_only_outside_the_images():
    images = np.full((2, 2, 28, 28, 1), -1.0)
    plain_grid, labelled = (
        report.grid(images),
        report.grid(images, row_labels=["Bag", "Coat"], captions=[["0.9", "0.1"]] * 2),
    )
    assert labelled.shape[0] > plain_grid.shape[0] and labelled.shape[1] > plain_grid.shape[1]
    assert (labelled == 0).all(-1).sum() == (plain_grid == 0).all(-1).sum() == 4 * 28 * 28
    left = labelled[:, : labelled.shape[1] - plain_grid.shape[1]]
    assert (left < 100).any()


def test_long_captions_stay_under_their_image():
    images = np.full((1, 2, 28, 28, 1), 1.0)
    found = report.grid(images, captions=[["a very long caption indeed", ""]], gap=4)
    assert (found[:, :32] < 200).any() and (found[:, 34:] == 255).all()


def test_png_round_trip_and_data_uri(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = report.save_png(tmp_path / "new" / "a.png", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    uri = report.png_data_uri(pixels)
    assert uri.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))), pixels)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "a.txt", b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_json_is_sorted_and_strict(tmp_path):
    value = {
        "b": np.float32(0.5),
        "a": [np.nan, np.inf, 1],
        "c": np.arange(2),
        "d": Estimate(1.0, 0.0, np.inf, 3),
        "e": True,
    }
    text = report.write_json(tmp_path / "m.json", value).read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (
        list(found) == sorted(found) and found["a"] == [None, None, 1] and found["c"] == [0, 1] and found["e"] is True
    )
    assert found["d"] == {"value": 1.0, "low": 0.0, "high": None, "n": 3}
    with pytest.raises(ValueError, match="function"):
        to_builtins({"f": to_builtins})


@pytest.mark.parametrize(
    "arguments, names",
    [
        ({"images": np.zeros((2, 3, 3))}, "images"),
        ({"images": np.zeros((0, 3, 3, 1))}, "images"),
        ({"images": np.zeros((2, 3, 3, 2))}, "channels"),
        ({"images": np.zeros((1, 2, 3, 3, 1)), "columns": 2}, "columns"),
        ({"images": np.zeros((1, 2, 3, 3, 1)), "row_labels": ["a", "b"]}, "row_labels"),
        ({"images": np.zeros((2, 3, 3, 1)), "scale": 0}, "scale"),
    ],
)
def test_errors_name_the_argument(arguments, names):
    with pytest.raises(ValueError, match=names):
        report.grid(**arguments)
