"""Candidates sampled side by side: those of one structure by one compiled program, whatever their number and samples.

A lane of the program is one sample of one candidate, with its own strengths, key and index; lanes are filled in chunks
of a fixed shape, so that nothing is compiled again, and a sample is the one that `tfg_jax.sample` draws.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from tfg_jax.batch import bound_programs, placed
from tfg_jax.noise import root_key
from tfg_jax.result import Samples
from tfg_jax.runs.mesh import local_mesh, on, on_mesh
from tfg_jax.runs.store import sample_arrays
from tfg_jax.search.space import Candidate, Space
from tfg_jax.search.strategy import Proposal
from tfg_jax.tasks.base import Task

MOVED = ("sampler", "lookahead", "window")
"""Fields of a task that candidates differ in, beside the method."""
Arrays = dict[str, np.ndarray]


def lanes(task: Any, shared: list, own: dict[str, Any], form: tuple[Any, tuple[bool, ...], bool]) -> PyTree:
    """Samples of all lanes, leaves (lanes, ...).

    Args:
        task: without the fields that are `MOVED`.
        shared: leaves of method and moved fields that all candidates have alike.
        own: of each lane its "leaves", root "key", "index" and "target".
        form: the structure of method and moved fields, which of its leaves are the lanes' own, and whether the network
            is given the targets.
    """
    structure, mine, conditional = form

    def lane(own: dict[str, Any]) -> Samples:
        leaves, others = iter(own["leaves"]), iter(shared)
        parts = jax.tree.unflatten(structure, [next(leaves if each else others) for each in mine])
        complete = dataclasses.replace(task, **{name: parts[name] for name in MOVED})
        out = complete.sample(
            own["key"], own["target"][None], parts["method"], conditional=conditional, index_offset=own["index"]
        )
        return jax.tree.map(lambda leaf: leaf[0], out)

    return jax.vmap(lane)(own)


_program = jax.jit(lanes, static_argnames="form")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How candidates are sampled.

    Attributes:
        space: their meaning.
        seeds: sample i has the one at i modulo their number.
        conditional: also give the targets to the network itself.
        chunk: lanes computed together; split over this host's devices where they divide it.
        kept: samples by candidate, which may be asked for more.
    """

    space: Space
    seeds: tuple[int, ...]
    conditional: bool = False
    chunk: int = 64
    kept: dict[Candidate, list[Arrays]] = dataclasses.field(default_factory=dict)

    @cached_property
    def _keys(self) -> Any:
        return jnp.stack([root_key(jax.random.key(seed)) for seed in self.seeds])

    def extends(self, fewer: int, more: int) -> bool:
        """Whether the first of ``more`` samples are asked for what ``fewer`` are, so that these are used again."""
        return np.array_equal(self.space.task.targets(fewer), self.space.task.targets(more)[:fewer])

    def run(self, proposals: Sequence[Proposal]) -> Iterator[tuple[Proposal, Arrays, float]]:
        """Every proposal with its samples, as they are done, and the seconds that they took."""
        structures: dict[Any, list[tuple[Proposal, list]]] = {}
        for each in proposals:
            task, method = self.space.built(each.candidate)
            parts = {"method": method, **{name: getattr(task, name) for name in MOVED}}
            structures.setdefault(jax.tree.structure(parts), []).append((each, jax.tree.leaves(parts)))
        for structure, group in structures.items():
            yield from self._run_structure(structure, group)

    def keep_only(self, candidates: Iterable[Candidate]) -> None:
        """Forget the samples of all others."""
        wanted = set(candidates)
        for each in [each for each in self.kept if each not in wanted]:
            del self.kept[each]

    def _run_structure(
        self, structure: Any, group: list[tuple[Proposal, list]]
    ) -> Iterator[tuple[Proposal, Arrays, float]]:
        mine, mesh = tuple(np.ndim(leaf) == 0 for leaf in group[0][1]), mesh_of(self.chunk)
        shared = [leaf for leaf, own in zip(group[0][1], mine, strict=True) if not own]
        bare = dataclasses.replace(self.space.task.bare(), **dict.fromkeys(MOVED))  # type: ignore[type-var]
        if mesh is not None:  # once, and not with every chunk
            bare, shared = on_mesh((bare, shared), mesh)
        program = partial(_program, bare, shared, form=(structure, mine, self.conditional))
        bound_programs(_program)
        lanes_left = deque(lane for each, leaves in group for lane in self._lanes(each, leaves, mine))
        waiting, seconds = deque(each for each, _ in group), dict.fromkeys((each.candidate for each, _ in group), 0.0)
        while waiting:
            while waiting and len(self.kept[waiting[0].candidate]) >= waiting[0].samples:
                each = waiting.popleft()
                rows = self.kept[each.candidate][: each.samples]
                yield each, {name: np.stack([row[name] for row in rows]) for name in rows[0]}, seconds[each.candidate]
            part = [lanes_left.popleft() for _ in range(min(self.chunk, len(lanes_left)))]
            since = time.monotonic()
            for (candidate, _), row in zip(part, self._chunk(program, [own for _, own in part], mesh), strict=False):
                self.kept[candidate].append(row)
                seconds[candidate] += (time.monotonic() - since) / len(part)

    def _lanes(self, proposal: Proposal, leaves: list, mine: tuple[bool, ...]) -> Iterator[tuple[Candidate, dict]]:
        """What the lanes of the samples that a proposal lacks take."""
        candidate, samples = proposal
        rows, targets = self.kept.setdefault(candidate, []), np.asarray(self.space.task.targets(samples))
        if rows and not self.extends(len(rows), samples):
            rows.clear()
        own = [np.asarray(leaf) for leaf, is_own in zip(leaves, mine, strict=True) if is_own]
        for index in range(len(rows), samples):
            seed = np.int32(index % len(self.seeds))
            yield candidate, {"leaves": own, "key": seed, "index": np.int32(index), "target": targets[index]}

    def _chunk(self, program: Any, own: list[dict[str, Any]], mesh: Mesh | None) -> Iterator[Arrays]:
        """The samples of at most a chunk of lanes."""
        if not own:
            return
        padded = jax.tree.map(lambda *each: np.stack(each), *own, *own[:1] * (self.chunk - len(own)))
        padded["key"] = self._keys[padded["key"]]
        out = program(own=placed(padded, None if mesh is None else on(mesh)["sharding"]))
        arrays = {**sample_arrays(out), "objective": np.asarray(out.info["summary"]), "target": padded["target"]}
        for number in range(len(own)):
            yield {name: array[number] for name, array in arrays.items()}


def mesh_of(chunk: int) -> Mesh | None:
    """This host's devices; None where there is one, or where they do not divide the chunk."""
    mesh = local_mesh()
    return None if mesh is None or chunk % mesh.size else mesh


def seconds_a_forward(task: Task, chunk: int) -> float:
    """Wall time of one network evaluation of one sample, as one unguided step of a chunk takes it."""
    from tfg_jax.samplers.ddim import DDIM

    step: Any = dataclasses.replace(task.bare(), sampler=DDIM(steps=1), lookahead=None, window=None)  # type: ignore
    targets = np.resize(task.targets(1), (chunk, *np.shape(task.targets(1))[1:]))
    seconds = 0.0
    for _ in range(2):  # the first time it is compiled
        since = time.monotonic()
        jax.block_until_ready(step.sample(jax.random.key(0), targets, None))
        seconds = time.monotonic() - since
    return seconds / chunk
