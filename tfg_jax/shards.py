"""`tfg_jax.runs.store` by its name before version 0.2, which goes with the next release."""

import importlib
import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(importlib.import_module("tfg_jax.runs.store"), name)
    warnings.warn(f"tfg_jax.shards.{name} is tfg_jax.runs.store.{name} now", DeprecationWarning, stacklevel=2)
    return value
