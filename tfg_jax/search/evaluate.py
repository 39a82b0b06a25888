"""Candidates sampled side by side: those of one structure by one compiled program, whatever their number and samples.

A lane of the program is one sample of one candidate, with its own strengths, key and index; lanes are filled in chunks
of a fixed shape, so that nothing is compiled again, and a sample is the one that `tfg_jax.sample` draws.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from tfg_jax.batch import bound_programs, placed
from tfg_jax.noise import root_key
from tfg_jax.result import Samples
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
    kept: dict[Candidate, Arrays] = dataclasses.field(default_factory=dict)

    @cached_property
    def _keys(self) -> Any:
        return jnp.stack([root_key(jax.random.key(seed)) for seed in self.seeds])

    def extends(self, fewer: int, more: int) -> bool:
        """Whether the first of ``more`` samples are asked for what ``fewer`` are, so that these are used again."""
        return np.array_equal(self.space.task.targets(fewer), self.space.task.targets(more)[:fewer])

    def run(self, proposals: Sequence[Proposal]) -> Iterator[tuple[Proposal, Arrays, float]]:
        """Every proposal with its samples, as they are done, and the seconds that they took."""
        structures: dict[Any, list[Proposal]] = {}
        parts = {each.candidate: self._parts(each.candidate) for each in proposals}
        for each in proposals:
            structures.setdefault(jax.tree.structure(parts[each.candidate]), []).append(each)
        for structure, group in structures.items():
            yield from self._run_structure(structure, group, parts)

    def keep_only(self, candidates: Iterable[Candidate]) -> None:
        """Forget the samples of all others."""
        wanted = set(candidates)
        for each in [each for each in self.kept if each not in wanted]:
            del self.kept[each]

    def _parts(self, candidate: Candidate) -> dict[str, Any]:
        task, method = self.space.built(candidate)
        return {"method": method, **{name: getattr(task, name) for name in MOVED}}

    def _run_structure(
        self, structure: Any, group: list[Proposal], parts: Mapping[Candidate, Any]
    ) -> Iterator[tuple[Proposal, Arrays, float]]:
        leaves = {each.candidate: jax.tree.leaves(parts[each.candidate]) for each in group}
        first = leaves[group[0].candidate]
        mine = tuple(np.ndim(leaf) == 0 for leaf in first)
        shared = [leaf for leaf, own in zip(first, mine, strict=True) if not own]
        strengths = {
            each: [np.asarray(leaf) for leaf, own in zip(all_of, mine, strict=True) if own]
            for each, all_of in leaves.items()
        }
        bare = dataclasses.replace(self.space.task.bare(), **dict.fromkeys(MOVED))  # type: ignore[type-var]
        program = partial(_program, bare, shared, form=(structure, mine, self.conditional))
        bound_programs(_program)
        todo = [(each, index) for each in group for index in range(self._done(each), each.samples)]
        targets = {each.samples: np.asarray(self.space.task.targets(each.samples)) for each in group}
        rows: dict[Candidate, list[Arrays]] = {each.candidate: [] for each in group}
        seconds = dict.fromkeys(rows, 0.0)
        for start in range(0, len(todo), self.chunk):
            part = todo[start : start + self.chunk]
            since = time.monotonic()
            out = self._chunk(program, part, strengths, targets)
            share = (time.monotonic() - since) / len(part)
            for number, (each, _) in enumerate(part):
                rows[each.candidate].append({name: array[number] for name, array in out.items()})
                seconds[each.candidate] += share
            ends = {each for each, index in part if index == each.samples - 1}
            for each in (each for each in group if each in ends):
                yield each, self._together(each, rows.pop(each.candidate)), seconds[each.candidate]
        for each in group:  # all of whose samples were there
            if each.candidate in rows:
                yield each, self._together(each, []), 0.0

    def _done(self, proposal: Proposal) -> int:
        arrays = self.kept.get(proposal.candidate)
        n = 0 if arrays is None else len(arrays["x"])
        return n if 0 < n <= proposal.samples and self.extends(n, proposal.samples) else 0

    def _chunk(self, program: Any, part: list, strengths: Mapping, targets: Mapping[int, np.ndarray]) -> Arrays:
        padded = part + part[:1] * (self.chunk - len(part))
        each = [strengths[proposal.candidate] for proposal, _ in padded]
        own = {
            "leaves": [np.stack(leaves) for leaves in zip(*each, strict=True)],
            "key": self._keys[np.array([index % len(self.seeds) for _, index in padded])],
            "index": np.array([index for _, index in padded], np.int32),
            "target": np.stack([targets[proposal.samples][index] for proposal, index in padded]),
        }
        out = program(own=placed(own, sharding_of(self.chunk)))
        arrays = {**sample_arrays(out), "objective": np.asarray(out.info["summary"]), "target": own["target"]}
        return {name: array[: len(part)] for name, array in arrays.items()}

    def _together(self, proposal: Proposal, rows: list[Arrays]) -> Arrays:
        done = self._done(proposal)
        new = {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
        old = {name: array[:done] for name, array in self.kept[proposal.candidate].items()} if done else {}
        names = new or old
        arrays = {name: np.concatenate([each[name] for each in (old, new) if each]) for name in names}
        self.kept[proposal.candidate] = arrays
        return arrays


def sharding_of(chunk: int) -> NamedSharding | None:
    """Over this host's devices; None where there is one, or where they do not divide the chunk."""
    devices = jax.local_devices()
    if len(devices) == 1 or chunk % len(devices):
        return None
    return NamedSharding(jax.make_mesh((len(devices),), ("lanes",), devices=devices), PartitionSpec("lanes"))


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
