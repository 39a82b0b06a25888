"""What a sample is: its arrays, the subspace it lives in, its range, and its picture.

The core works on one array a sample. A sample of several arrays is raveled into one at three doors, of the network, of
the objective and of the result, so methods never see the difference. A domain that projects (a mask, a zero mean) is
the orthogonal projection P onto a linear subspace, and

    draws        initial, step, re-noising and Monte-Carlo noise, the source and the controls of a solve:  P z
    network      denoised = P D(P x),   objective = f(P x0)       so every gradient is projected by the chain rule
    steps        x_next = P (what sampler and guidance propose)   whatever acts entry by entry: clips, optimizers

which costs nothing where P is the identity: no operation is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count, show


class Spec(NamedTuple):
    """The arrays of one sample: their shapes and the pytree that they are the leaves of; hashable."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shape: Any) -> Spec:
        """From the shape of one array, or a pytree of shapes such as ``{"positions": (29, 3), "types": (29, 5)}``.

        Raises:
            ValueError: anything else.
        """
        leaves, structure = jax.tree.flatten(shape, is_leaf=_is_shape)
        if not leaves or not all(map(_is_shape, leaves)):
            raise ValueError(
                f"shape={show(shape)} must be a tuple of integers, such as (32, 32, 3), or a pytree of such tuples"
            )
        for size in (size for leaf in leaves for size in leaf):
            check_count("shape's entry", size)
        return cls(structure, tuple(tuple(map(int, leaf)) for leaf in leaves))

    @property
    def is_array(self) -> bool:
        """Whether a sample is one array, and not a pytree around one."""
        return jax.tree_util.treedef_is_leaf(self.structure)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each array."""
        return tuple(map(math.prod, self.shapes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample inside the core: its own if it is one array, else that of all its entries."""
        return self.shapes[0] if self.is_array else (sum(self.sizes),)

    def unflatten(self, leaves: Any) -> PyTree:
        """The pytree with these leaves."""
        return jax.tree.unflatten(self.structure, leaves)


def _is_shape(node: Any) -> bool:
    whole = lambda size: isinstance(size, int | np.integer) and not isinstance(size, bool)  # noqa: E731
    return isinstance(node, tuple | list) and not hasattr(node, "_fields") and all(map(whole, node))


@struct.dataclass
class Domain:
    """Samples of any arrays, with nothing to project; made by ``shape=`` of the constructors of models.

    A subclass overrides `mask`, or `project` itself, `range` and `show`. Both methods see one sample as its user does,
    and the condition of that sample.

    Attributes:
        spec: the arrays of one sample.
    """

    spec: Spec = struct.field(pytree_node=False)

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest value of clean samples; None if they have no bounds."""
        return None

    def mask(self, cond: PyTree) -> PyTree | None:
        """Which entries a sample of this condition has, arrays that broadcast to its own; None is all of them."""
        return None

    def project(self, sample: PyTree, cond: PyTree) -> PyTree:
        """The nearest sample of the subspace; `sample` itself, untouched, where there is none. Here: the mask's."""
        mask = self.mask(cond)
        return sample if mask is None else jax.tree.map(lambda x, m: x * jnp.asarray(m, x.dtype), sample, mask)

    def dimension(self, cond: PyTree) -> Any:
        """Free entries of a sample: the subspace's dimension. Here: what the mask leaves."""
        mask = self.mask(cond)
        if mask is None:
            return sum(self.spec.sizes)
        wide = jax.tree.map(lambda m, s: jnp.sum(jnp.broadcast_to(m, s)), mask, self.spec.unflatten(self.spec.shapes))
        return sum(jax.tree.leaves(wide))

    def show(self, sample: PyTree) -> np.ndarray:
        """A picture of one clean sample, (H, W, 3) bytes. Here: its entries as grey squares, row by row."""
        flat = np.asarray(self.pack(sample), np.float32).ravel()
        width = math.ceil(math.sqrt(flat.size))
        squares = np.zeros(width * width, np.float32)
        squares[: flat.size] = flat
        return grey(squares.reshape(width, width), self.range or (-1.0, 1.0))

    # The doors: between samples as users see them and the one array of the core.

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample inside the core."""
        return self.spec.shape

    def pack(self, sample: PyTree) -> Array:
        """The one array of a sample, with any leading axes; arrays of several precisions are taken to the widest."""
        if self.spec.is_array:
            return sample
        leaves = jax.tree.leaves(sample)
        lead = leaves[0].shape[: leaves[0].ndim - len(self.spec.shapes[0])]
        dtype = jnp.result_type(*leaves)
        return jnp.concatenate([jnp.reshape(leaf, (*lead, -1)).astype(dtype) for leaf in leaves], axis=-1)

    def unpack(self, x: Array) -> PyTree:
        """The sample of one array, with any leading axes; its arrays are all of the array's precision."""
        if self.spec.is_array:
            return x
        parts, start = [], 0
        for size, shape in zip(self.spec.sizes, self.spec.shapes, strict=True):
            parts.append(x[..., start : start + size].reshape(*x.shape[:-1], *shape))
            start += size
        return self.spec.unflatten(parts)

    def arrays(self, dtype: DTypeLike = "float32", lead: tuple[int, ...] = ()) -> PyTree:
        """Shapes and dtype of a sample's arrays, as `jax.ShapeDtypeStruct`."""
        return self.spec.unflatten([jax.ShapeDtypeStruct((*lead, *shape), dtype) for shape in self.spec.shapes])

    def _project(self, sample: PyTree, cond: PyTree) -> PyTree:
        """`project`, whose class is the user's: ValueError unless it gives the arrays of a sample."""
        projected = self.project(sample, cond)
        given, wanted = (
            (jax.tree.structure(each), [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(each)])
            for each in (projected, sample)
        )
        if given != wanted:
            raise ValueError(
                f"domain={type(self).__name__}.project gives {_told(projected)} for a sample of {_told(sample)}; "
                "give the same arrays"
            )
        return projected

    @property
    def projects(self) -> bool:
        """Whether samples live in a subspace; a class that overrides neither `mask` nor `project` has none."""
        kind = type(self)
        return kind.project is not Domain.project or kind.mask is not Domain.mask

    def projected(self, x: Array, cond: PyTree) -> Array:
        """`project` on the one array of the core, with any leading axes."""
        if not self.projects:
            return x
        project = lambda x: self.pack(self._project(self.unpack(x), cond))  # noqa: E731
        for _ in range(x.ndim - len(self.shape)):
            project = jax.vmap(project)
        return project(x)


def _told(sample: PyTree) -> str:
    return str(jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", sample))[:120]


def domain_of(model: Any) -> Domain | None:
    """The domain of a model; None where a sample is one array of any values."""
    return getattr(model, "domain", None)


def shape_of(model: Any) -> Any:
    """Shape of one sample as its user sees it: a tuple, or a pytree of them."""
    domain = domain_of(model)
    return model.shape if domain is None else domain.spec.unflatten(domain.spec.shapes)


def domain_from(shape: Any, domain: Domain | None) -> tuple[tuple[int, ...], Domain | None]:
    """Shape inside the core, and domain, of samples of a shape or pytree of shapes, which a domain may say alone.

    Raises:
        ValueError: no shape, or one that is not the domain's.
    """
    if domain is None:
        spec = Spec.of(shape)
        return spec.shape, None if spec.is_array else Domain(spec)
    if shape is not None and Spec.of(shape) != domain.spec:
        raise ValueError(f"shape={show(shape)} is not that of domain={type(domain).__name__}; leave one of them out")
    return domain.shape, domain


def packed(model: Any, samples: PyTree) -> PyTree:
    """Samples as their user gives them, with any leading axes, as arrays of the core; None stays None."""
    domain = domain_of(model)
    return samples if domain is None or samples is None else domain.pack(samples)


def unpacked(model: Any, x: PyTree) -> PyTree:
    """Arrays of the core as the samples that their user sees."""
    domain = domain_of(model)
    return x if domain is None else domain.unpack(x)


def named_arrays(name: str, model: Any, samples: PyTree) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Name, value and shape of one sample of each array of some samples.

    Raises:
        ValueError: samples of another structure than the model's.
    """
    domain = domain_of(model)
    if domain is None or domain.spec.is_array:
        yield name, samples, model.shape
        return
    structure = jax.tree.structure(samples)
    if structure != domain.spec.structure:
        raise ValueError(
            f"{name} is of structure {show(structure)}, the model's samples are {show(domain.spec.structure)}"
        )
    for (path, leaf), shape in zip(jax.tree.leaves_with_path(samples), domain.spec.shapes, strict=True):
        yield f"{name}{jax.tree_util.keystr(path)}", leaf, shape


def named_leaves(name: str, samples: PyTree) -> dict[str, Any]:
    """The arrays of some samples by identifiers made of their paths: ``x``, or ``x__positions``, ``x__parts__0``."""
    keystr = jax.tree_util.keystr
    return {
        "__".join([name, keystr(path, simple=True, separator="__")]) if path else name: leaf
        for path, leaf in jax.tree.leaves_with_path(samples)
    }


def names_of(name: str, model: Any = None) -> PyTree:
    """The names that `named_leaves` gives the arrays of a model's samples, in their structure."""
    domain = None if model is None else domain_of(model)
    if domain is None:
        return name
    return domain.spec.unflatten(list(named_leaves(name, domain.arrays())))


def grey(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """(H, W) values within bounds as (H, W, 3) bytes."""
    low, high = bounds
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.repeat(np.round(255.0 * share).astype(np.uint8)[..., None], 3, axis=-1)
