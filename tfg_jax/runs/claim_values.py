"""The claim on a sample folder below a URL: as `claim` on a local folder, with objects in the place of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfg_jax.runs.claim import check_same, read_record
from tfg_jax.runs.record import MANIFEST, manifest_text, parse_manifest
from tfg_jax.runs.values import Right, Values
from tfg_jax.runs.zarr_shards import OWN_KEY

SHARD = re.compile(r"shard-\d{5,}\.sha256")
LOCKS = re.compile(r"(locks/.+/)?lock")
FIX = "pass overwrite=True"


def claim_values(
    values: Values, config: Mapping[str, Any], *, overwrite: bool, free: Iterable[str],
    take: Callable[[Any], Right],
) -> tuple[Right, Mapping[str, Any] | None]:  # fmt: skip
    """Take a URL for one manifest; arguments, result and errors as of `claim`."""
    try:
        if values.read(MANIFEST) is None:
            _check_keys(values, overwrite)
        right = take(None)
    except OSError as error:
        raise ValueError(f"path={values.name} cannot be written ({error.strerror}); choose another") from error
    try:
        data = values.read(MANIFEST)
        if data is not None and not overwrite:
            known = read_record(values.name, MANIFEST, lambda: parse_manifest(data))
            check_same(values.name, known, config, set(free))
            return right, known
        for key in filter(_is_own, values.keys()) if overwrite else ():
            values.delete(key)
        values.write(MANIFEST, manifest_text(config))
    except BaseException:
        right.release()
        raise
    return right, None


def _is_own(key: str) -> bool:
    return bool(SHARD.fullmatch(key) or OWN_KEY.fullmatch(key))


def _check_keys(values: Values, overwrite: bool) -> None:
    """ValueError for objects of another origin, or for shards without their manifest."""
    keys = [key for key in values.keys() if not LOCKS.fullmatch(key)]
    if foreign := [key for key in keys if not _is_own(key)]:
        raise ValueError(f"path={values.name} holds other files ({', '.join(foreign[:3])}); choose a new one")
    if keys and not overwrite:
        raise ValueError(f"path={values.name} holds shards but no {MANIFEST}; {FIX} to begin again")
