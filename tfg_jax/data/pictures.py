"""Pictures as arrays: every frame, upright, at the depth the file has, transparency on white."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfg_jax.readers import FREE_BYTES, MAX_RATIO, read_bytes

MAX_BYTES = 2**30

# Those whose depth Pillow tells; of others it may drop bits in silence.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's own conversion of colour to grey
# TIFF tags and the values of which Pillow does not read 16 bits right.
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR = 258, 262, 284
WHITE_IS_ZERO, SEPARATE = 0, 2


class _Refused(ValueError):
    """A file that is understood, but no use."""


def read_picture(file: Path, shape: tuple[int, ...], needed_by: str) -> np.ndarray:
    """Every frame of a picture as (frames, *shape) in [-1, 1]: colour is made grey, and grey colour, as ``shape`` says.

    The orientation that a camera noted is applied. Of a JPEG with further pictures (MPO) the first one is read.

    Raises:
        ValueError: no readable picture, one of another size, or more than 16 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(_bytes(file), formats=FORMATS) as opened:
            return np.stack(list(_frames(opened, file, shape, needed_by)))
    except _Refused:
        raise
    except Exception as error:  # a damaged file makes Pillow raise anything
        kinds = f"{', '.join(FORMATS)} or .npz"
        raise ValueError(f"images={file} is no readable picture ({type(error).__name__}); give {kinds}") from None


def _bytes(file: Path) -> io.BytesIO:
    """What a file holds: read from the file itself, a part that claims to be large would be allocated first."""
    data = read_bytes(file, MAX_BYTES)
    if data is None:
        raise _Refused(f"images={file} is larger than {MAX_BYTES} bytes; split it, or give an .npz file")
    return io.BytesIO(data)


def wrong_size(file: Path, got: tuple[int, ...], shape: tuple[int, ...], needed_by: str, which: str = "") -> ValueError:
    """What to say of an image that is not of the shape that is needed."""
    size, wanted = (" x ".join(map(str, each)) for each in (got, shape))
    return _Refused(f"images={file} is {size}{which}, {needed_by} needs {wanted}; resize or crop it first")


def _frames(opened: Any, file: Path, shape: tuple[int, ...], needed_by: str) -> Iterator[np.ndarray]:
    count = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
    if 4 * count * int(np.prod(shape)) > max(FREE_BYTES, MAX_RATIO * file.stat().st_size):
        raise _Refused(f"images={file} has {count} frames, more than are read from so small a file; split it")
    for index in range(count):
        opened.seek(index)
        which = f" in frame {index + 1} of {count}" if count > 1 else ""
        grey = opened.mode in ("1", "L", "LA", "I", "F") or opened.mode.startswith("I;")
        got = (opened.height, opened.width, 1 if grey else 3)
        if sorted(got[:2]) != sorted(shape[:2]):  # before anything is unpacked; the exact order is known once upright
            raise wrong_size(file, got, shape, needed_by, which)
        frame = _deep(opened, file, index) if _is_deep(opened) else _shallow(opened, shape[-1])
        if frame.shape[:2] != tuple(shape[:2]):
            raise wrong_size(file, (*frame.shape[:2], got[2]), shape, needed_by, which)
        if frame.shape[-1] > shape[-1]:
            frame = (frame @ np.array(LUMA))[..., None]
        yield np.broadcast_to(frame, shape).astype(np.float32)


def _is_deep(opened: Any) -> bool:
    """Whether there are more than 8 bits a channel."""
    bits = opened.tag_v2.get(BITS_PER_SAMPLE, (1,)) if opened.format == "TIFF" else (8,)
    return opened.mode in ("I", "F") or max(bits) > 8 or ";16" in opened.mode or ";16" in _rawmode(opened)


def _shallow(opened: Any, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    from tfg_jax.data.pixels import to_float

    frame: Any = ImageOps.exif_transpose(opened)
    if frame.has_transparency_data:
        solid = frame.convert("RGBA")
        frame = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)
    pixels = np.asarray(frame.convert("L" if channels == 1 else "RGB"))
    return to_float(pixels.reshape(*pixels.shape[:2], channels))


def _deep(opened: Any, file: Path, index: int) -> np.ndarray:
    """A frame of 16 bits a channel in [-1, 1]; Pillow keeps the upper bytes of colour, the lower are read apart."""
    from PIL import Image, ImageOps

    raw = _rawmode(opened)
    kind, _, order = raw.rpartition(";16")
    tags = opened.tag_v2 if opened.format == "TIFF" else {}
    odd = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO or (tags.get(PLANAR) == SEPARATE and kind != "I")
    known = (kind == "I" and order in ("", "N", "B", "R")) or (
        kind in ("RGB", "RGBX", "RGBA") and order in tuple("BLN")
    )
    animated = opened.format == "PNG" and getattr(opened, "n_frames", 1) > 1
    if not (known or raw == "LA;16B") or odd or animated or "transparency" in opened.info:
        raise _Refused(
            f"images={file} has more than 8 bits a channel in a form that is not read ({opened.mode}, {raw}); save it "
            "as a PNG with 8 or 16, or give an .npz file"
        )
    if kind == "I":
        values = np.asarray(ImageOps.exif_transpose(opened)).astype(np.float64)[..., None]
    elif raw == "LA;16B":  # four bytes a pixel, read as they are
        _set_rawmode(opened, "RGBA")
        parts = np.asarray(ImageOps.exif_transpose(opened)).astype(np.float64)
        values = 256.0 * parts[..., ::2] + parts[..., 1::2]
    else:
        with Image.open(_bytes(file), formats=FORMATS) as again:
            again.seek(index)
            big = order == "B" or (order == "N" and sys.byteorder == "big")
            _set_rawmode(again, f"{kind};16{'L' if big else 'B'}")
            low = np.asarray(ImageOps.exif_transpose(again)).astype(np.float64)
        values = 256.0 * np.asarray(ImageOps.exif_transpose(opened)) + low
    values /= 65535.0
    if values.shape[-1] in (2, 4):
        values = 1.0 + values[..., -1:] * (values[..., :-1] - 1.0)
    return 2.0 * values - 1.0


def _rawmode(opened: Any) -> str:
    """How the pixels lie in the file, e.g. RGB;16B; known until they are loaded."""
    args = opened.tile[0].args if opened.tile else ""
    return str(args[0] if isinstance(args, tuple | list) and args else args)


def _set_rawmode(opened: Any, raw: str) -> None:
    opened.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple | list) else raw)
        for tile in opened.tile
    ]
