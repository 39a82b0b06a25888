"""Atomic, resumable training state: one Orbax directory per saved step, `config.json` beside them."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from tfg_jax.locks import FolderLock
from tfg_jax.runs.claim import Kind
from tfg_jax.runs.claim import claim as claim_folder

_STEP = re.compile(r"step_(\d{9})")
STATE = Kind(
    own=re.compile(r"step_\d{9}|log\.jsonl"), leftover=re.compile(r"step_.*tmp.*|.*\.tmp"), alone=False,
    noun="training state", fix="use --overwrite",
)  # fmt: skip


@contextmanager
def claim(folder: Path, config: dict[str, Any], *, overwrite: bool = False) -> Iterator[FolderLock]:
    """Hold `folder` (made if missing) for one configuration, for one process at a time, and yield its lock.

    A new folder records `config` (JSON values) in `config.json`; a known one must hold the same configuration.
    `overwrite` forgets the training state found there. Interrupted writes of earlier runs are swept away.

    Raises ValueError if another process trains there, or the folder holds another or an unknown configuration.
    """
    lock, _ = claim_folder(folder, config, STATE, overwrite=overwrite)
    with lock:
        yield lock


def saved_steps(folder: Path) -> list[int]:
    """Steps with a finished checkpoint in `folder`, ascending."""
    matches = (_STEP.fullmatch(path.name) for path in folder.glob("step_*"))
    return sorted(int(match.group(1)) for match in matches if match)


def save(folder: Path, step: int, state: PyTree, *, keep: int = 2) -> None:
    """Save the leaves of `state` as `step`, then drop all but the newest `keep` checkpoints."""
    from orbax.checkpoint import v1 as ocp

    if step not in saved_steps(folder):
        ocp.save(str(_path(folder, step)), _named(state))
    for old in saved_steps(folder)[:-keep]:
        _discard(folder, old)


def restore(folder: Path, like: PyTree) -> PyTree | None:
    """Newest readable checkpoint of `folder` in the structure of `like`, or None if there is none.

    A damaged checkpoint is set aside with a message and the one before it is used.

    Raises ValueError if checkpoints exist and none can be read into `like`.
    """
    from orbax.checkpoint import v1 as ocp

    steps, reason = saved_steps(folder), None
    abstract = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in _named(like).items()
    }
    for step in reversed(steps):
        try:
            named = ocp.load(str(_path(folder, step)), abstract)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"checkpoint of step {step} cannot be read ({reason})", flush=True)
            continue
        for newer in steps[steps.index(step) + 1 :]:
            _discard(folder, newer)
        return jax.tree.unflatten(jax.tree.structure(like), [named[name] for name in abstract])
    if steps:
        raise ValueError(
            f"folder {str(folder)!r} has no checkpoint that fits this model and optimizer ({reason}): "
            "use the code that wrote it or --overwrite"
        )
    return None


def _discard(folder: Path, step: int) -> None:
    # Renamed first: a half-deleted directory must not look like a checkpoint.
    doomed = _path(folder, step).with_suffix(".tmp")
    os.replace(_path(folder, step), doomed)
    shutil.rmtree(doomed)


def _path(folder: Path, step: int) -> Path:
    return folder.absolute() / f"step_{step:09d}"


def _named(state: PyTree) -> dict[str, Any]:
    """Leaves by path, so that a checkpoint does not depend on the containers that hold them."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
