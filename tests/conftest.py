"""Every test runs on the CPU with the shapes and types of tfg_jax's annotations enforced."""

import os
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax is imported

import jax
import pytest
from jaxtyping import install_import_hook

# Only modules imported after this line are checked, so no test helper may import tfg_jax before.
install_import_hook("tfg_jax", "beartype_calls.check_calls")


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
