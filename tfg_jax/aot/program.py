"""A guided sampler that was compiled ahead of time, run without the model's code: with JAX and the result's types."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray, PyTree

from tfg_jax.aot.file import FIX, from_plain, read_program
from tfg_jax.batch import Batching
from tfg_jax.kinds import public
from tfg_jax.noise import root_key
from tfg_jax.result import Cost, Samples, Status


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Program:
    """A sampler as a function of its random key, its targets and its conditions; made by `load`.

    Attributes:
        file: where it was read.
        header: what the file says of itself: versions, platforms, configuration, shapes and dtypes.
        call: the program, a compiled function of flat arrays.
        weights: what it is given that is not asked for.
        examples: target and condition of the samples it was saved with, (m, ...); None where it takes none.
    """

    file: Path
    header: dict[str, Any]
    call: Callable[..., Any]
    weights: list[Any]
    examples: tuple[PyTree, PyTree]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Those it was lowered for: of "cpu", "cuda", "rocm" and "tpu"."""
        return tuple(self.header["platforms"])

    @cached_property
    def sample(self) -> PyTree:
        """Shape and dtype of one sample, or of each of its arrays."""
        return from_plain(self.header["sample"])

    @cached_property
    def target(self) -> PyTree:
        """Shape and dtype of the target of one sample; None if it takes none."""
        return from_plain(self.header["target"])

    @cached_property
    def cond(self) -> PyTree:
        """Shape and dtype of the condition of one sample; None if it takes none."""
        return from_plain(self.header["cond"])

    def __repr__(self) -> str:
        parts = {"sample": self.sample, "target": self.target, "cond": self.cond}
        told = ", ".join(f"{name}={_told(each)}" for name, each in parts.items() if each is not None)
        return f"Program({told}, platforms={', '.join(self.platforms)})"

    def __call__(
        self,
        key: PRNGKeyArray,
        *,
        target: PyTree = None,
        cond: PyTree = None,
        num_samples: int | None = None,
        index_offset: ArrayLike = 0,
    ) -> Samples:
        """Samples of the sampler that was saved, as `tfg_jax.sample` of it gives them; each count compiles once.

        Args:
            key: root key, ``jax.random.key(seed)``.
            target: what is asked for, leaves (n, ...) of the shapes it was saved with; None if it takes none.
            cond: the condition of each sample, leaves (n, ...), likewise.
            num_samples: how many; may be left out if target or cond say it.
            index_offset: global index of the first sample, >= 0.

        Raises:
            ValueError: arrays of other shapes than it was saved with, or a platform it was not lowered for.
        """
        platform = export.default_export_platform()
        if platform not in self.platforms:
            raise ValueError(
                f"file={self.file} holds a program for {', '.join(self.platforms)}, not for {platform}; save it with "
                f"platforms=({platform!r},)"
            )
        given = [*_checked("target", target, self.target), *_checked("cond", cond, self.cond)]
        n = num_samples if num_samples is not None else next((len(leaf) for leaf in given), None)
        if n is None:
            raise ValueError("num_samples is missing; the program takes neither target nor cond that could say it")
        Batching(n, index_offset).check()
        if (other := next((leaf for leaf in given if len(leaf) != n), None)) is not None:
            raise ValueError(f"target or cond has {len(other)} entries for {n} samples; give one a sample")
        if not isinstance(key, jax.Array):
            raise ValueError(f"key={key!r:.60} is no random key; pass jax.random.key(seed)")
        words = jax.random.key_data(root_key(key))
        indices = np.arange(n, dtype=np.int32) + np.int32(index_offset)  # type: ignore[arg-type]
        out = iter(self.call(self.weights, words, indices, given))
        x, info = (
            jax.tree.unflatten(structure, [next(out) for _ in range(structure.num_leaves)])
            for structure in (jax.tree.structure(self.sample), jax.tree.structure(from_plain(self.header["info"])))
        )
        return Samples(x, Status(next(out), next(out)), Cost(next(out), next(out), next(out)), info)


@public
def load(file: str | os.PathLike[str]) -> Program:
    """Read a program that `tfg_jax.aot.save` wrote; neither its model nor the model's code is needed.

    Nothing of the file runs before the program is called, and a program can compute, not call Python. It is still code:
    load programs from those you would take code from.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another kind, a damaged one, or one of a newer version of tfg_jax or JAX.
    """
    path = Path(file)
    header, program, arrays = read_program(path)
    low, high = (
        export.minimum_supported_calling_convention_version, export.maximum_supported_calling_convention_version
    )  # fmt: skip
    try:
        version, written = header["calling_convention"], header["versions"]["jax"]
        if not low <= version <= high:
            raise ValueError(
                f"file={path} was written by jax {written} in calling convention {version}, jax {jax.__version__} runs "
                f"{low} to {high}; {'update jax' if version > high else FIX}"
            )
        structure, count = (
            jax.tree.structure([from_plain(header[name]) for name in ("target", "cond")]),
            header["weights"],
        )
        if len(arrays) != count + structure.num_leaves:
            raise IndexError("arrays")
        weights, examples = arrays[:count], tuple(jax.tree.unflatten(structure, arrays[count:]))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"file={path} is damaged: its header is not whole ({error!s:.60}); {FIX}") from None
    try:
        exported = export.deserialize(bytearray(program))
    except Exception as error:  # of whatever kind the readers of JAX raise at what another version wrote
        raise ValueError(
            f"file={path} was written by jax {written}, and jax {jax.__version__} cannot read it "
            f"({str(error).splitlines()[0]:.80}); update jax, or {FIX}"
        ) from error
    return Program(path, header, jax.jit(exported.call), jax.device_put(weights), examples)


def _checked(name: str, value: PyTree, spec: PyTree) -> list[Any]:
    """The arrays of a target or a condition, which must be of the shapes that a program takes."""
    if spec is None or value is None:
        if spec is not None:
            raise ValueError(f"{name} is missing; the program takes {_told(spec)} a sample, give (n, ...)")
        if value is not None:
            raise ValueError(f"{name} has no effect: the program was saved without; drop it")
        return []
    structure, wanted = jax.tree.structure(value), jax.tree.structure(spec)
    if structure != wanted:
        raise ValueError(f"{name} is {structure!s:.80}, the program takes {wanted!s:.80}")
    arrays = []
    for leaf, one in zip(jax.tree.leaves(value), jax.tree.leaves(spec), strict=True):
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        if array.ndim == 0 or array.shape[1:] != one.shape:
            shape = ", ".join(["n", *map(str, one.shape)])
            raise ValueError(f"{name} has shape {array.shape}; the program takes ({shape}{',' * (not one.shape)})")
        if not jnp.can_cast(array.dtype, one.dtype, "same_kind"):
            raise ValueError(f"{name} has dtype {array.dtype}; the program takes {one.dtype}")
        cast = array.astype(one.dtype)
        if array.dtype != one.dtype and jnp.issubdtype(one.dtype, jnp.integer) and not np.array_equal(cast, array):
            raise ValueError(f"{name} holds a number that {one.dtype}, which the program takes, does not have")
        arrays.append(cast)
    return arrays


def _told(spec: PyTree) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", spec)).replace("'", "")[:120]
