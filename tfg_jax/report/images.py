"""Image grids as uint8 arrays, and PNG files or data URIs of them. Pillow is imported when needed."""

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from tfg_jax.checks import check_count
from tfg_jax.files import write_bytes
from tfg_jax.kinds import public
from tfg_jax.rows import AnyArray

Pixels = UInt8[np.ndarray, "_ _ 3"]

PAPER, INK = (255, 255, 255), (32, 32, 32)
BROKEN = (204, 0, 0)


@public
def to_pixels(image: Float[AnyArray, "H W C"], scale: int = 1) -> Pixels:
    """One image in [-1, 1] as RGB uint8, values outside clipped, each pixel repeated scale x scale times.

    image: (H, W, C) with C = 1 (grey) or 3. An image with a non-finite value becomes a red tile with a white cross, so
    that a failed sample cannot be taken for a dark one.
    """
    image = np.asarray(image)
    if image.shape[-1] not in (1, 3):
        raise ValueError(f"image must have 1 or 3 channels last, got shape {image.shape}.")
    if scale < 1:
        raise ValueError(f"scale must be a whole factor >= 1, got {scale}.")
    if np.isfinite(image).all():
        levels = np.rint((np.clip(image.astype(np.float64), -1, 1) + 1) * 127.5).astype(np.uint8)
        pixels = np.broadcast_to(levels, (*image.shape[:2], 3))
    else:
        rows, columns = np.indices(image.shape[:2]) / (np.array(image.shape[:2])[:, None, None] - 1).clip(1)
        cross = np.minimum(abs(rows - columns), abs(rows + columns - 1)) < 0.07
        pixels = np.where(cross[..., None], np.uint8(255), np.array(BROKEN, np.uint8))
    return np.ascontiguousarray(pixels.repeat(scale, 0).repeat(scale, 1))


@public
def grid(
    images: AnyArray | Sequence[AnyArray],
    *,
    columns: int | None = None,
    row_labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    scale: int = 1,
    gap: int = 2,
) -> Pixels:
    """Images on white paper, in rows, with optional row labels at the left and a caption under each image.

    images: (R, C, H, W, channels) for R rows; a sequence of rows of unequal length; or (N, H, W, channels), cut into
        rows of `columns` (default: near square). Values in [-1, 1]; all images of one size.
    row_labels: one a row. captions: one list a row, one text an image; cut to the image's width.
    scale: whole upscaling factor, nearest neighbour. gap: pixels between images.
    Raises ValueError for empty or mismatching arguments.
    """
    if columns is not None:
        check_count("columns", columns)
    check_count("gap", gap, low=0)
    rows = _rows(images, columns)
    if (row_labels and len(row_labels) != len(rows)) or (captions and len(captions) != len(rows)):
        raise ValueError(f"row_labels and captions must have one entry for each of the {len(rows)} rows, got "
                         f"{len(row_labels)} and {len(captions)}.")  # fmt: skip
    tiles = [[to_pixels(image, scale) for image in row] for row in rows]
    height, width = tiles[0][0].shape[:2]
    size = max(10, min(16, height // 6))
    line = size + 5 if row_labels or captions else 0
    left = 2 * gap + max(_widths(size, row_labels)) if row_labels else gap
    step_y = height + gap + (line if captions else 0)
    shape = (gap + step_y * len(rows), left + (width + gap) * max(map(len, rows)), 3)
    paper = np.full(shape, PAPER, np.uint8)
    for r, row in enumerate(tiles):
        for c, tile in enumerate(row):
            y, x = gap + r * step_y, left + c * (width + gap)
            paper[y : y + height, x : x + width] = tile
    notes = [(gap, gap + r * step_y + (height - line) // 2, label, left) for r, label in enumerate(row_labels)]
    notes += [
        (left + c * (width + gap), gap + r * step_y + height, caption, width)
        for r, row in enumerate(captions)
        for c, caption in enumerate(row)
    ]
    return _written(paper, notes, size) if line else paper


@public
def save_png(path: str | os.PathLike[str], pixels: Pixels) -> Path:
    """Write uint8 pixels as a PNG file, atomically."""
    return write_bytes(path, png_bytes(pixels))


@public
def png_data_uri(pixels: Pixels) -> str:
    """Uint8 pixels as a `data:image/png;base64,...` address, for pages that must not need other files."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode("ascii")


def png_bytes(pixels: Pixels | UInt8[np.ndarray, "_ _"]) -> bytes:
    """Uint8 pixels, RGB or grey, as the contents of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _rows(images: AnyArray | Sequence[AnyArray], columns: int | None) -> list[np.ndarray]:
    """Split into rows of images, whichever of the three forms was given."""
    ndim = getattr(images, "ndim", None)
    if ndim not in (None, 4, 5):
        raise ValueError(f"images must have 4 (N, H, W, C) or 5 (R, C, H, W, C) axes, got {ndim}.")
    if ndim == 4:
        width = columns or max(1, round(len(images) ** 0.5))
        parts = [images[i : i + width] for i in range(0, len(images), width)]
    elif columns is not None:
        raise ValueError(f"columns={columns} has no effect on images already in rows; leave it out.")
    else:
        parts = list(images)
    rows = [np.asarray(row) for row in parts]
    if not rows or not all(len(row) for row in rows) or len({row.shape[1:] for row in rows}) != 1:
        raise ValueError(f"images must be non-empty rows of one image size, got {[row.shape for row in rows]}.")
    return rows


def _widths(size: int, texts: Sequence[str]) -> list[int]:
    """Pixels that texts take in Pillow's built-in font."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    return [round(font.getlength(text)) for text in texts]


def _written(paper: np.ndarray, notes: Sequence[tuple[int, int, str, int]], size: int) -> np.ndarray:
    """Paper with notes (x, y, text, width), each cut to its width."""
    from PIL import Image, ImageDraw, ImageFont

    image, font = Image.fromarray(paper), ImageFont.load_default(size)
    canvas = ImageDraw.Draw(image)
    for x, y, text, width in notes:
        while len(text) > 1 and round(font.getlength(text)) > width:
            text = text[:-1]
        canvas.text((x, y), text, fill=INK, font=font)
    return np.asarray(image)
