"""Linear operators: inpainting, super-resolution, and any separable or dense matrix.

Eigenvectors of A A^H are computed once, when an operator is made, so that solving with it inside a sampler is a few
products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from tfg_jax import struct
from tfg_jax.checks import check_choice, check_count, check_number, readable
from tfg_jax.kinds import public
from tfg_jax.operators.base import cast, check_image_shape, entries, expect, leaf


@struct.dataclass
class Inpainting:
    """``y = mask x``: hidden entries are 0 and free of noise; build it with `inpainting` and its relatives.

    Attributes:
        mask: (H, W, C), 1 where an entry is seen and 0 where it is hidden.
    """

    mask: Float[Array, "H W C"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images it measures."""
        return self.mask.shape

    @property
    def observed(self) -> Float[Array, "H W C"]:
        """1 for the entries of y that are measured."""
        return self.mask

    def __call__(self, x0: Inexact[Array, "..."]) -> Inexact[Array, "H W C"]:
        expect(self, "x0", x0.shape, self.shape)
        return self.mask.astype(x0.dtype) * x0

    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, "H W C"]:
        """The mask again."""
        expect(self, "y", y.shape, self.shape)
        return self.mask.astype(y.dtype) * y

    def gram_solve(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Inexact[Array, "H W C"]:
        """``y / (variance mask^2 + ridge)``."""
        expect(self, "y", y.shape, self.shape)
        return y / (variance * self.mask.astype(y.dtype) ** 2 + ridge)


@struct.dataclass
class Separable:
    """``y = rows x columns^T`` of every channel; build it with `separable`.

    Attributes:
        rows, columns: (h, H) and (w, W).
        row_axes, row_gains: eigenvectors (h, h) and eigenvalues (h,) of ``rows rows^H``; likewise of the columns.
        shape: (H, W, C).
    """

    rows: Inexact[Array, "h H"]
    columns: Inexact[Array, "w W"]
    row_axes: Inexact[Array, "h h"]
    row_gains: Float[Array, " h"]
    column_axes: Inexact[Array, "w w"]
    column_gains: Float[Array, " w"]
    shape: tuple[int, int, int] = struct.field(pytree_node=False)

    @property
    def _measured(self) -> tuple[int, int, int]:
        return self.rows.shape[0], self.columns.shape[0], self.shape[2]

    def __call__(self, x0: Inexact[Array, "..."]) -> Inexact[Array, "h w C"]:
        expect(self, "x0", x0.shape, self.shape)
        return _two_sided(self.rows, self.columns, x0)

    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, "H W C"]:
        """``rows^H y conj(columns)``."""
        expect(self, "y", y.shape, self._measured)
        return _two_sided(self.rows.conj().T, self.columns.conj().T, y)

    def gram_solve(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Inexact[Array, "h w C"]:
        """By the eigenvalues of both sides: those of A A^H are their products."""
        expect(self, "y", y.shape, self._measured)
        gains = (self.row_gains[:, None] * self.column_gains)[:, :, None].astype(y.real.dtype)
        turned = _two_sided(self.row_axes.conj().T, self.column_axes.conj().T, y) / (variance * gains + ridge)
        return _two_sided(self.row_axes, self.column_axes, turned)


@struct.dataclass
class Matrix:
    """``y = A x`` of samples (D,); build it with `matrix`.

    Attributes:
        A: (M, D).
        axes, gains: eigenvectors (M, M) and eigenvalues (M,) of ``A A^H``.
        parts: of a complex A, the real matrix of its real and imaginary parts, (2M, D); None otherwise.
    """

    A: Inexact[Array, "M D"]
    axes: Inexact[Array, "M M"]
    gains: Float[Array, " M"]
    parts: Matrix | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples it measures, (D,)."""
        return self.A.shape[1:]

    def __call__(self, x0: Inexact[Array, "..."]) -> Inexact[Array, " M"]:
        expect(self, "x0", x0.shape, self.shape)
        return cast(self.A, x0) @ x0

    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, " D"]:
        """``A^H y``."""
        expect(self, "y", y.shape, self.A.shape[:1])
        return cast(self.A.conj().T, y) @ y

    def gram_solve(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Inexact[Array, " M"]:
        """By the eigenvalues of ``A A^H``."""
        expect(self, "y", y.shape, self.A.shape[:1])
        axes, gains = cast(self.axes, y), self.gains.astype(y.real.dtype)
        return axes @ ((axes.conj().T @ y) / (variance * gains + ridge))

    def real_gradient(self, y: Inexact[Array, "..."], variance: ArrayLike, ridge: ArrayLike) -> Float[Array, " D"]:
        """By the real matrix of both parts."""
        expect(self, "y", y.shape, self.A.shape[:1])
        if self.parts is None:
            return self.adjoint(self.gram_solve(y.real, variance, ridge))
        both = jnp.concatenate([y.real, y.imag])
        return self.parts.adjoint(self.parts.gram_solve(both, variance, ridge))


@public
def inpainting(mask: ArrayLike | Sequence[Any], channels: int | None = None) -> Inpainting:
    """Inpainting by a mask of your own.

    Args:
        mask: (H, W, C) of 0 (hidden) and 1 (seen), or (H, W) together with ``channels``.
        channels: number of channels that share an (H, W) mask, >= 1; without effect, and an error, for (H, W, C).

    Raises:
        ValueError: a mask of another shape, with other values, or that hides everything.
    """
    if np.iscomplexobj(mask):
        raise ValueError("mask is complex; give 0 (hidden) and 1 (seen) as real numbers")
    values = readable("mask", mask)
    if values.ndim == 2:
        check_count("channels", channels)
        values = np.repeat(values[:, :, None], int(channels), axis=2)  # type: ignore[arg-type]
    elif channels is not None:
        raise ValueError(f"channels={channels} has no effect on a mask of shape {values.shape}; drop it")
    check_image_shape(values.shape)
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError("mask must hold 0 (hidden) and 1 (seen) alone; threshold it first")
    if not values.any():
        raise ValueError("mask hides every entry, so nothing is measured; leave some entries at 1")
    return Inpainting(leaf(values))


@public
def box_inpainting(
    shape: tuple[int, int, int], size: int | tuple[int, int], corner: tuple[int, int] | None = None
) -> Inpainting:
    """A hidden box.

    Args:
        shape: (H, W, C) of the images.
        size: height and width of the box in pixels, one number for a square; smaller than the image.
        corner: (row, column) of its upper left pixel; None centres it.

    Raises:
        ValueError: a box that is empty or does not fit.
    """
    height, width, channels = check_image_shape(shape)
    tall, wide = (size, size) if isinstance(size, int | np.integer) else size
    check_count("size", tall)
    check_count("size", wide)
    top, left = ((height - tall) // 2, (width - wide) // 2) if corner is None else corner
    inside = 0 <= top <= height - tall and 0 <= left <= width - wide
    if not inside or (tall, wide) == (height, width):
        raise ValueError(
            f"size={size} at corner={(top, left)} is no box inside images of {height} x {width}; make it smaller"
        )
    mask = np.ones((height, width))
    mask[top : top + tall, left : left + wide] = 0.0
    return inpainting(mask, channels)


@public
def random_inpainting(key: PRNGKeyArray, shape: tuple[int, int, int], hidden: float = 0.7) -> Inpainting:
    """Pixels hidden at random, the same in all channels.

    Args:
        key: decides which; the same key hides the same pixels.
        shape: (H, W, C) of the images.
        hidden: share of hidden pixels in (0, 1); the number is exact, ``round(hidden H W)``.

    Raises:
        ValueError: a share outside (0, 1), or one that hides all pixels or none.
    """
    height, width, channels = check_image_shape(shape)
    check_number("hidden", hidden, low=0.0, high=1.0)
    count = round(hidden * height * width)
    if not 0 < count < height * width:
        raise ValueError(f"hidden={hidden} hides {count} of {height * width} pixels; choose a share in between")
    with jax.ensure_compile_time_eval():
        order = readable("key", jax.random.permutation(key, height * width)).astype(int)
    mask = np.ones(height * width)
    mask[order[:count]] = 0.0
    return inpainting(mask.reshape(height, width), channels)


@public
def super_resolution(
    shape: tuple[int, int, int], factor: int, kernel: Literal["average", "bicubic"] = "average"
) -> Separable:
    """Images made ``factor`` times smaller on each side.

    Args:
        shape: (H, W, C) of the large images; H and W multiples of the factor.
        factor: >= 2.
        kernel: "average" of factor x factor blocks, or "bicubic": Keys' cubic (a = -1/2) stretched by the factor
            against aliasing, rows scaled to sum to 1 where the border cuts them.

    Raises:
        ValueError: a factor that does not divide the sides, or an unknown kernel.
    """
    height, width, channels = check_image_shape(shape)
    check_count("factor", factor, low=2)
    check_choice("kernel", kernel, ("average", "bicubic"))
    if height % factor or width % factor:
        raise ValueError(f"factor={factor} does not divide {height} x {width}; crop the images or change the factor")
    shrink = _averaging if kernel == "average" else _bicubic
    return separable(shrink(height, factor), shrink(width, factor), channels)


@public
def separable(rows: ArrayLike | Sequence[Any], columns: ArrayLike | Sequence[Any], channels: int) -> Separable:
    """``y = rows x columns^T`` of every channel.

    Args:
        rows: (h, H), mixes the rows of an image. columns: (w, W), mixes its columns. Either may be complex.
        channels: of the images, >= 1.

    Raises:
        ValueError: something that is no finite matrix.
    """
    check_count("channels", channels)
    left, right = entries("rows", rows), entries("columns", columns)
    for name, value in (("rows", left), ("columns", right)):
        if value.ndim != 2:
            raise ValueError(f"{name} has shape {value.shape}; give a matrix (out, in)")
    (row_gains, row_axes), (column_gains, column_axes) = (_eigen(value) for value in (left, right))
    return Separable(
        leaf(left), leaf(right), leaf(row_axes), leaf(row_gains), leaf(column_axes), leaf(column_gains),
        shape=(left.shape[1], right.shape[1], channels),
    )  # fmt: skip


@public
def matrix(A: ArrayLike | Sequence[Any]) -> Matrix:
    """``y = A x`` of samples (D,), such as those of `tfg_jax.analytic`.

    Args:
        A: (M, D), finite, real or complex.

    Raises:
        ValueError: A is no finite matrix.
    """
    values = entries("A", A)
    if values.ndim != 2:
        raise ValueError(f"A has shape {values.shape}; give a matrix (M, D)")
    gains, axes = _eigen(values)
    parts = matrix(np.concatenate([np.real(values), np.imag(values)])) if values.dtype.kind == "c" else None
    return Matrix(leaf(values), leaf(axes), leaf(gains), parts)


def _two_sided(left: Array, right: Array, x: Array) -> Array:
    return jnp.einsum("ij,jkc,lk->ilc", cast(left, x), x, cast(right, x))


def _eigen(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gains, axes = np.linalg.eigh(values @ values.conj().T)
    return gains.clip(0.0), axes  # round-off of a singular A must not make the system indefinite


def _averaging(size: int, factor: int) -> np.ndarray:
    return np.kron(np.eye(size // factor), np.full((1, factor), 1.0 / factor))


def _bicubic(size: int, factor: int) -> np.ndarray:
    centres = (np.arange(size // factor) + 0.5) * factor - 0.5
    away = np.abs(centres[:, None] - np.arange(size)) / factor
    near, far = 1.5 * away**3 - 2.5 * away**2 + 1.0, -0.5 * away**3 + 2.5 * away**2 - 4.0 * away + 2.0
    weights = np.where(away <= 1.0, near, np.where(away < 2.0, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)
