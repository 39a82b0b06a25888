"""Writing a guided sampler as a program."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from tfg_jax import __version__, arguments
from tfg_jax.aot.file import to_plain, write_program
from tfg_jax.checks import check_choice
from tfg_jax.config import to_dict
from tfg_jax.denoiser import Model
from tfg_jax.guidance.base import Guidance
from tfg_jax.kinds import public
from tfg_jax.lookahead import Clip, Lookahead
from tfg_jax.noise import THREEFRY
from tfg_jax.objectives.base import Objective
from tfg_jax.problem import Plan, Problem, Record
from tfg_jax.sample import DEFAULT_SAMPLER, sample_all
from tfg_jax.samplers.base import Sampler

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@public
def save(
    file: str | os.PathLike[str],
    model: Model,
    *,
    objective: Objective | Callable[..., Array] | None = None,
    target: PyTree = None,
    cond: PyTree = None,
    guidance: Guidance | None = None,
    lookahead: Lookahead | None = None,
    sampler: Sampler | None = None,
    clip: Clip | None = None,
    window: tuple[ArrayLike, ArrayLike] | None = None,
    record: Record | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> Path:
    """Write a guided sampler as one file that `tfg_jax.aot.load` runs without the model's code.

    The sampler of any number of samples is lowered by `jax.export`, for platforms that need not be here. Everything but
    the random key, targets, conditions and indices is fixed: weights, strengths, steps, schedule.

    Args:
        file: where to; replaced in one step.
        target, cond: examples, leaves (m, ...) of dictionaries, lists and tuples: the program takes others of the same
            shapes. They are kept in the file.
        model, objective, guidance, lookahead, sampler, clip, window, record: as in `tfg_jax.sample`.
        platforms: those it can run on, of "cpu", "cuda", "rocm" and "tpu".

    Returns:
        The file.

    Raises:
        ValueError: as `tfg_jax.sample`, and for what cannot be a program: a `PerSample` number, a network that calls
            back into Python or needs the number of samples, an operation that a platform does not have.
    """
    if isinstance(platforms, str) or not platforms:
        raise ValueError(f"platforms={platforms!r} must be a tuple of names, such as ('cpu', 'cuda')")
    for platform in platforms:
        check_choice("platforms", platform, PLATFORMS)
    target, cond = (jax.tree.map(jnp.asarray, each) for each in (target, cond))
    plains = {"target": to_plain("target", target, lead=1), "cond": to_plain("cond", cond, lead=1)}
    problem = Problem.of(model, cond, objective, target)
    plan = Plan(guidance, DEFAULT_SAMPLER if sampler is None else sampler, lookahead, clip, window, record)
    n = arguments.count_of(1 if target is None and cond is None else None, target, cond)
    plan.check(problem)
    problem.check(n, clean=False)
    shared, data = problem.split(jnp.float32)
    if data["model"]:
        raise ValueError("model holds a PerSample number, which a program cannot be given; make it one for all samples")
    kept, rebuilt = _weights((shared, plan.filled(jnp.float32)))
    structures: list[Any] = []

    def program(weights: list, words: Array, index: Array, given: list) -> list:
        shared, plan = rebuilt(weights)
        target, cond = jax.tree.unflatten(asked, given)
        own = Problem.of(model, cond, objective, target)
        per_sample = {"index": index, "model": [], "cond": own.cond, "target": own.target, "start": None, "noise": None}
        key = jax.random.wrap_key_data(words, impl=THREEFRY)
        out = problem.result(sample_all(key, shared, plan, None, per_sample))
        structures[:] = [jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), each)
                         for each in (out.x, out.info)]  # fmt: skip
        cost = out.cost.as_arrays()
        return [*jax.tree.leaves((out.x, out.info)), out.status.code, out.status.step, cost.forwards, cost.pullbacks,
                cost.objective]  # fmt: skip

    (batch,) = export.symbolic_shape("n")
    examples, asked = jax.tree.flatten((target, cond))
    own = [jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype) for leaf in examples]
    words, index = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((batch,), jnp.int32)
    try:
        exported = export.export(jax.jit(program), platforms=tuple(platforms))(kept, words, index, own)
        if exported.ordered_effects or exported.unordered_effects:
            raise ValueError("it calls back into Python")
        text = bytes(exported.serialize())
    except ImportError as error:
        raise ValueError(f"file={file} cannot be written: {error}; pip install flatbuffers") from error
    except Exception as error:  # of the user's network, or of an operation that a platform lacks
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"model or objective cannot be made a program for platforms={tuple(platforms)}: {why:.120}; it must work "
            "for any number of samples and call no Python"
        ) from error
    header = {
        "versions": {"tfg_jax": __version__, "jax": jax.__version__},
        "platforms": list(exported.platforms), "calling_convention": exported.calling_convention_version,
        "sample": to_plain("model", structures[0]), "info": to_plain("record", structures[1]), **plains,
        "weights": len(kept), "configuration": _described(plan),
    }  # fmt: skip
    write_program(Path(file), header, text, [np.asarray(leaf) for leaf in (*kept, *examples)])
    return Path(file)


def _weights(tree: PyTree) -> tuple[list[Array], Callable[[list], PyTree]]:
    """The arrays of a tree, each once, and the tree of such arrays; numbers of Python stay inside, with their types."""
    leaves, structure = jax.tree.flatten(tree)
    arrays: list[Array] = []
    index_of: dict[tuple, int] = {}
    place: list[int | None] = []
    for leaf in leaves:
        fixed = not isinstance(leaf, jax.Array | np.ndarray) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
        if fixed or getattr(leaf, "weak_type", False):
            place.append(None)
            continue
        values = np.asarray(leaf)
        identity = (values.dtype.name, values.shape, values.tobytes())
        place.append(index_of.setdefault(identity, len(arrays)))
        arrays += [jnp.asarray(leaf)] * (place[-1] == len(arrays))

    def rebuilt(given: list) -> PyTree:
        parts = [leaf if at is None else given[at] for at, leaf in zip(place, leaves, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return arrays, rebuilt


def _described(plan: Plan) -> dict[str, Any]:
    """The configuration as JSON, for people: a class of the user's own that cannot say itself goes by its name."""
    described = {}
    for name in ("guidance", "sampler", "lookahead", "clip", "window"):
        value = getattr(plan, name)
        try:
            described[name] = to_dict(value)
        except ValueError:
            described[name] = type(value).__name__
    return described
