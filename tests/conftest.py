"""Every test runs on the CPU with the shapes and types of tfg_jax's annotations enforced."""

import gc
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# Before jax is imported, and inherited by the processes that tests start. Most of the run is compilation of small
# programs, which these settings make three times as fast; an unknown one would abort, so only where they are known.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["TFG_JAX_CACHE"] = "off"  # no command of a test writes into the user's home
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false",
    )

import jax
import pytest
from jaxtyping import install_import_hook

# Tracing makes millions of short-lived objects: at the default thresholds a fifth of the run is garbage collection.
gc.set_threshold(200_000, 20, 100)

# Only modules imported after this line are checked, so no test helper may import tfg_jax before.
install_import_hook("tfg_jax", "beartype_calls.check_calls")


MEMORY_MAPS = Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def release_programs() -> Iterator[None]:
    """Drop compiled programs between files once there are many.

    Linux lets a process hold 65,530 memory maps, and each program takes a few: a worker that has run most of the suite
    would crash inside the compiler.
    """
    yield
    if MEMORY_MAPS.exists() and MEMORY_MAPS.read_bytes().count(b"\n") > 40_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for one test: golden numbers and exact oracles."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key_reuse() -> Iterator[None]:
    """A random key consumed twice raises `jax.errors.KeyReuseError` within one test."""
    with jax.debug_key_reuse(True):
        yield
