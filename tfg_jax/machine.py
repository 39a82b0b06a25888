"""What the library runs on, as JSON values: devices, memory, versions, the cache of compiled programs, precision."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from typing import Any

import jax

from tfg_jax import __version__
from tfg_jax.host import program_cache

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "diffrax", "equinox", "orbax-checkpoint", "flatbuffers", "numpy", "scipy",
    "rdkit", "optuna",
)  # fmt: skip
PROGRAMS = ("xtb",)
FLAGS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable",
    "jax_debug_nans", "jax_disable_jit",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """All of it. Devices are started."""
    return {
        "devices": [_device(device) for device in jax.devices()],
        "memory (MB)": _memory(),
        "cache": cache(),
        "versions": {"python": platform.python_version(), "tfg_jax": __version__, **_packages()},
        "programs": {name: shutil.which(name) for name in PROGRAMS},
        "precision": {name: getattr(jax.config, name, None) for name in FLAGS},
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def cache() -> dict[str, Any]:
    """Where compiled programs are kept between runs of the command line, why, how many and how large."""
    folder, why = program_cache()
    kept = [] if folder is None or not folder.is_dir() else list(folder.glob("*-cache"))
    size = round(sum(file.stat().st_size for file in kept) / 1e6, 1)
    return {"folder": None if folder is None else str(folder), "why": why, "programs": len(kept), "MB": size}


def _device(device: Any) -> dict[str, Any]:
    try:
        stats = device.memory_stats() or {}
    except Exception:  # what a platform raises that does not tell
        stats = {}
    memory = {name: round(stats[f"bytes_{name}"] / 1e6) for name in ("limit", "in_use") if f"bytes_{name}" in stats}
    return {"id": device.id, "platform": device.platform, "kind": device.device_kind, "memory (MB)": memory or None}


def _memory() -> int | None:
    """Of the host."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6)
    except (AttributeError, ValueError, OSError):
        return None


def _packages() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def as_text(told: dict[str, Any]) -> str:
    """What `machine` says, in lines."""
    cache = told["cache"]
    kept = f"{cache['programs']} programs, {cache['MB']} MB" if cache["folder"] else "off"
    present = [f"{name} {version or 'is missing'}" for name, version in (told["versions"] | told["programs"]).items()]
    lines = [f"device     {each['id']}: {each['platform']}, {each['kind']}, MB {each['memory (MB)'] or 'unknown'}"
             for each in told["devices"]]  # fmt: skip
    lines += [f"memory     {told['memory (MB)']} MB", f"cache      {kept}: {cache['folder'] or ''} ({cache['why']})"]
    precision = ", ".join(f"{name.removeprefix('jax_')} {value}" for name, value in told["precision"].items())
    return "\n".join([*lines, "versions   " + ", ".join(present), f"precision  {precision}"])
