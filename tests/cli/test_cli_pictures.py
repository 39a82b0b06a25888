"""Pictures of the user: every frame, upright, at full depth; what cannot be read so is refused."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfg_jax.data import pictures
from tfg_jax.data.inputs import read_images

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, size=(4, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, size=(4, 6, 3))
DEEP[0, 0] = 511
ALPHA = np.concatenate([DEEP, RNG.integers(0, 65536, size=(4, 6, 1))], axis=2)
LUMA = np.array([0.299, 0.587, 0.114])


def write_png(file: Path, values: np.ndarray) -> None:
    """16 bits a channel, which Pillow does not write: grey, grey with alpha, RGB or RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    rows = [b"\0" + row.astype(">u2").tobytes() for row in values]
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def write_tiff(file: Path, pages: list[np.ndarray], order: str = "<", packed: bool = False) -> None:
    """Pages of 16 bits a channel, one strip each, plain or deflated."""
    out = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 0))
    link = 4
    for values in pages:
        height, width, channels = values.shape
        strip = values.astype(f"{order}u2").tobytes()
        strip = zlib.compress(strip) if packed else strip
        at = len(out)
        out += strip + b"\0" * (len(strip) % 2)
        bits = len(out)
        out += struct.pack(f"{order}{channels}H", *[16] * channels)
        entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits), (259, 4, 1, 8 if packed else 1),
                   (262, 4, 1, 2 if channels >= 3 else 1), (273, 4, 1, at), (277, 4, 1, channels), (278, 4, 1, height),
                   (279, 4, 1, len(strip))]  # fmt: skip
        if channels == 1:
            entries[2] = (258, 4, 1, 16)
        if channels == 4:
            entries.append((338, 4, 1, 2))
        out[link : link + 4] = struct.pack(f"{order}I", len(out))
        out += struct.pack(f"{order}H", len(entries))
        for tag, kind, count, value in entries:
            out += struct.pack(f"{order}HHII", tag, kind, count, value)
        link = len(out)
        out += b"\0\0\0\0"
    file.write_bytes(bytes(out))


def read(file: Path, channels: int = 3, shape: tuple[int, int] = (4, 6)) -> np.ndarray:
    return read_images([file], (*shape, channels))[0]


def scaled(values: np.ndarray) -> np.ndarray:
    return 2.0 * values / 65535.0 - 1.0


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.png", lambda f: write_png(f, DEEP)),
        ("little.tif", lambda f: write_tiff(f, [DEEP])),
        ("big.tif", lambda f: write_tiff(f, [DEEP], ">")),
        ("packed.tif", lambda f: write_tiff(f, [DEEP], packed=True)),
        ("packed_big.tif", lambda f: write_tiff(f, [DEEP], ">", packed=True)),
    ],
)
def test_16_bit_colour_is_read_at_full_depth(name, write, tmp_path):
    write(tmp_path / name)
    found = read(tmp_path / name)
    assert found[0, 0, 0] == pytest.approx([-0.9844] * 3, abs=1e-4)
    np.testing.assert_allclose(found[0], scaled(DEEP), atol=1e-6)
    np.testing.assert_allclose(read(tmp_path / name, 1)[0, ..., 0], scaled(DEEP) @ LUMA, atol=1e-6)


def test_16_bit_grey_and_alpha(tmp_path):
    """Grey at full depth, made colour where the model wants it; transparency falls on white, as with 8 bits."""
    write_png(tmp_path / "grey.png", DEEP[..., :1])
    Image.fromarray(DEEP[..., 0].astype(np.uint16)).save(tmp_path / "grey.tif")
    write_tiff(tmp_path / "big.tif", [DEEP[..., :1]], ">")
    for name in ("grey.png", "grey.tif", "big.tif"):
        np.testing.assert_allclose(read(tmp_path / name, 1)[0], scaled(DEEP[..., :1]), atol=1e-6)
        np.testing.assert_allclose(read(tmp_path / name)[0], np.repeat(scaled(DEEP[..., :1]), 3, 2), atol=1e-6)
    share = ALPHA[..., 3:] / 65535.0
    write_png(tmp_path / "rgba.png", ALPHA)
    write_tiff(tmp_path / "rgba.tif", [ALPHA])
    for name in ("rgba.png", "rgba.tif"):
        np.testing.assert_allclose(read(tmp_path / name)[0], 1 + share * (scaled(DEEP) - 1), atol=1e-6)
    write_png(tmp_path / "la.png", ALPHA[..., 2:])
    np.testing.assert_allclose(read(tmp_path / "la.png", 1)[0], 1 + share * (scaled(DEEP[..., 2:]) - 1), atol=1e-6)


def test_the_orientation_of_a_camera_is_applied(tmp_path):
    """White in the upper left quarter, to be turned by a quarter clockwise (6): it belongs in the upper right one."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[:14, :14] = 255
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / name, exif=exif)
        found = read(tmp_path / name, 1, (28, 28))[0, ..., 0]
        assert found[4, 24] > 0.9 and found[4, 4] < -0.9 and found[24, 24] < -0.9, name
    tall = Image.fromarray(GREY)
    exif = tall.getexif()
    exif[0x0112] = 8
    tall.save(tmp_path / "tall.png", exif=exif)
    np.testing.assert_allclose(read(tmp_path / "tall.png", 1, (6, 4))[0, ..., 0], np.rot90(GREY) / 127.5 - 1, atol=1e-6)
    with pytest.raises(ValueError, match="is 6 x 4 x 1, the model needs 4 x 6 x 1"):
        read(tmp_path / "tall.png", 1)


def test_every_frame_is_an_image(tmp_path):
    frames = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in (0, 100, 255)]
    for name in ("a.gif", "a.tif", "a.png", "a.webp"):
        options: Any = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        x, names = read_images([tmp_path / name], (4, 6, 1))
        assert names == ["a 0", "a 1", "a 2"] and x.shape == (3, 4, 6, 1)
        np.testing.assert_allclose(x[:, 0, 0, 0], [-1, 100 / 127.5 - 1, 1], atol=1e-6, err_msg=name)
    write_tiff(tmp_path / "deep.tif", [DEEP, DEEP[::-1]])
    np.testing.assert_allclose(read(tmp_path / "deep.tif"), [scaled(DEEP), scaled(DEEP[::-1])], atol=1e-6)
    frames[0].save(tmp_path / "odd.tif", save_all=True, append_images=[Image.new("L", (3, 2))])
    with pytest.raises(ValueError, match="is 2 x 3 x 1 in frame 2 of 2, the model needs 4 x 6 x 1"):
        read(tmp_path / "odd.tif", 1)


def test_other_modes_are_what_viewers_show(tmp_path):
    """1 bit, palettes, transparency of both kinds, CMYK."""
    Image.fromarray(GREY > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read(tmp_path / "bits.png", 1)[0, ..., 0], np.where(GREY > 127, 1, -1))
    palette = Image.fromarray(COLOUR).quantize(24)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_allclose(
        read(tmp_path / "palette.png")[0], np.asarray(palette.convert("RGB")) / 127.5 - 1, atol=1e-6
    )
    palette.info["transparency"] = index = int(np.asarray(palette)[0, 0])
    palette.save(tmp_path / "clear.png", transparency=index)
    assert (read(tmp_path / "clear.png")[0, 0, 0] == 1).all()
    Image.fromarray(GREY).convert("LA").save(tmp_path / "la.png")
    np.testing.assert_allclose(read(tmp_path / "la.png", 1)[0, ..., 0], GREY / 127.5 - 1, atol=1e-6)
    inks = Image.fromarray(COLOUR).convert("CMYK")
    inks.save(tmp_path / "inks.tif")
    np.testing.assert_allclose(read(tmp_path / "inks.tif")[0], np.asarray(inks.convert("RGB")) / 127.5 - 1, atol=1e-6)


def test_more_frames_than_a_file_can_hold_are_refused(tmp_path, monkeypatch):
    frames = [Image.new("L", (6, 4), level) for level in range(9)]
    frames[0].save(tmp_path / "many.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(pictures, "FREE_BYTES", 0)
    monkeypatch.setattr(pictures, "MAX_RATIO", 1)
    with pytest.raises(ValueError, match="has 9 frames, more than are read from so small a file"):
        read(tmp_path / "many.gif", 1)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("wide.png", lambda f: Image.new("RGB", (8, 4)).save(f), "is 4 x 8 x 3, the model needs 4 x 6 x 1"),
        ("p.png", lambda f: Image.new("P", (8, 4)).save(f), "is 4 x 8 x 3, the model needs 4 x 6 x 1"),
        ("float.tif", lambda f: Image.new("F", (6, 4)).save(f), "more than 8 bits a channel in a form"),
        ("int.tif", lambda f: Image.new("I", (6, 4)).save(f), "more than 8 bits a channel in a form"),
        ("a.ppm", lambda f: Image.new("RGB", (6, 4)).save(f), "is no readable picture"),
        ("lab.tif", lambda f: Image.new("LAB", (6, 4)).save(f), "is no readable picture"),
    ],
)
def test_what_cannot_be_read_is_refused(name, write, said, tmp_path):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / name, 1)
